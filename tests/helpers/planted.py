"""Decoders with planted faults, as a user adds a decoder: two classes in a file, and a YAML."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from decoders.autoregressive import Autoregressive, AutoregressiveSession
from decoders.pearl import Pearl, PearlSession
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Sampler
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class Liar(Autoregressive):
    """Autoregressive, but for a wrong token every so often."""

    every: int = 10

    def start(self, models: Models, sampler: Sampler) -> Session:
        return LiarSession(self, models, sampler)


class LiarSession(AutoregressiveSession):
    decoder: Liar

    def rounds(self, sequence: Sequence) -> Iterator[Round]:
        for index, one in enumerate(super().rounds(sequence), start=1):
            yield one
            if index % self.decoder.every == 0:
                sequence.tokens[-1] = (sequence.tokens[-1] + 1) % 256


@dataclass
class DraftKiller(Pearl):
    """PEARL whose draft process gets a signal in the middle of a prompt."""

    after: int = 2
    how: int = 9

    def start(self, models: Models, sampler: Sampler) -> Session:
        return DraftKillerSession(self, models, sampler)


class DraftKillerSession(PearlSession):
    decoder: DraftKiller

    def load(self, models: Models) -> None:
        super().load(models)
        self._left = self.decoder.after

    def rounds(self, sequence: Sequence) -> Iterator[Round]:
        self._left -= 1
        for one in super().rounds(sequence):
            yield one
            if self._left < 0:
                os.kill(self.drafter.pid, self.decoder.how)
