"""Autoregressive decoding: one target forward per token."""

from __future__ import annotations

from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.process.models import Models
from decoders.sampling.sampler import Draft, Sampler
from decoders.schedule import Alone, Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class Autoregressive(Decoder):
    """The target model alone, a token at a time. Also the reference run of every other decoder."""

    uses_draft = False
    idea = "the target model alone, a forward for each token"

    def simulated_as(self) -> Schedule:
        return Alone()

    def start(self, models: Models, sampler: Sampler) -> Session:
        return AutoregressiveSession(self, models, sampler)


class AutoregressiveSession(Session):
    """Holds the target alone."""

    def generate(self, sequence: Sequence) -> None:
        for one in self.rounds(sequence):
            one.mode = "decode"
            seen = self.read(sequence)
            sequence.append(sequence.judge(seen, Draft()).verified)
