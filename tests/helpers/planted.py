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
    def __init__(self, decoder: Liar, models: Models, sampler: Sampler) -> None:
        self._every = decoder.every
        super().__init__(decoder, models, sampler)

    def rounds(self, sequence: Sequence) -> Iterator[Round]:
        for index, one in enumerate(super().rounds(sequence), start=1):
            yield one
            if index % self._every == 0:
                sequence.tokens[-1] = (sequence.tokens[-1] + 1) % 256


@dataclass
class DraftKiller(Pearl):
    """PEARL whose draft process gets a signal in the middle of a prompt."""

    after: int = 2
    how: int = 9

    def start(self, models: Models, sampler: Sampler) -> Session:
        return DraftKillerSession(self, models, sampler)


class DraftKillerSession(PearlSession):
    def __init__(self, decoder: DraftKiller, models: Models, sampler: Sampler) -> None:
        self._after, self._how = decoder.after, decoder.how
        super().__init__(decoder, models, sampler)

    def rounds(self, sequence: Sequence) -> Iterator[Round]:
        self._after -= 1
        for one in super().rounds(sequence):
            yield one
            if self._after < 0:
                os.kill(self.drafter.pid, self._how)
