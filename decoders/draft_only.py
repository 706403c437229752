"""The draft model alone, a token at a time: how fast drafting is, and how far from the target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.process.clock import clock
from decoders.process.drafter import DRAFT_WINDOWS
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Sampler
from decoders.schedule import Alone, Schedule
from decoders.sequence import Text


@dataclass
class DraftOnly(Decoder):
    """Autoregressive decoding by the draft model. The upper limit of every decoder's speed."""

    lossless = False
    idea = "the draft model alone, not the target's output"

    def simulated_as(self) -> Schedule:
        return Alone(drafts=True)

    def start(self, models: Models, sampler: Sampler) -> None:
        super().start(models, sampler)
        self.draft = models.load_draft()

    def prepare(self, start: int, end: int) -> None:
        self.draft.prepare(DRAFT_WINDOWS, start, end)

    def rounds(self, text: Text) -> Iterator[Round]:
        self.draft.rollback(0)
        proposer = self.sampler.proposer(self.seed, len(text.tokens))
        while not text.finished:
            start = clock()
            logits = self.draft.extend(text.tokens, rows=1)
            token, _ = proposer.propose(logits, len(text.tokens))
            proposer.forget(len(text.tokens))
            seconds = clock() - start
            position = len(text.output)
            text.append([token])
            yield Round(
                "draft",
                drafted=1,
                draft_seconds=seconds,
                start=start,
                verified_length=len(text.output),
                draft_start=start,
                drafted_ids=[token],
                drafted_at=[position],
            )
