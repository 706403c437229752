"""Autoregressive decoding: one target forward per token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.process.clock import clock
from decoders.round import Round
from decoders.sampling.sampler import Draft
from decoders.schedule import Alone, Schedule
from decoders.sequence import Text


@dataclass
class Autoregressive(Decoder):
    """The target model alone, a token at a time. Also the reference run of every other decoder."""

    uses_draft = False
    idea = "the target model alone, a forward for each token"

    def simulated_as(self) -> Schedule:
        return Alone()

    def rounds(self, text: Text) -> Iterator[Round]:
        while not text.finished:
            start = clock()
            logits = self.target.extend(text.tokens, rows=1)
            target = self.verifier.read(logits, len(text.tokens))
            seconds = clock() - start
            text.append(self.verifier.judge(target, Draft()).verified(Draft()))
            yield Round(
                "decode",
                target_seconds=seconds,
                start=start,
                verified_length=len(text.output),
                target_start=start,
                target_tokens=self.target.take_tokens(),
            )
