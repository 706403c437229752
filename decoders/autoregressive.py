"""Autoregressive decoding: one target forward per token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from decoders.decoder import Decoder, Round
from decoders.stopwatch import clock
from decoders.text import Text


@dataclass
class Autoregressive(Decoder):
    """The target model alone, a token at a time. Also the reference run of every other decoder."""

    uses_draft = False

    def rounds(self, text: Text) -> Iterator[Round]:
        while not text.finished:
            start = clock()
            logits = self.target.extend(text.tokens, rows=1)
            token = self.verifier.choose(logits, len(text.tokens))
            seconds = clock() - start
            text.append([token])
            yield Round(
                "decode",
                target_seconds=seconds,
                start=start,
                verified_length=len(text.output),
                target_start=start,
                target_tokens=self.target.take_tokens(),
            )
