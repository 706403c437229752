"""The draft model alone, a token at a time: how fast drafting is, and how far from the target."""

from __future__ import annotations

from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.process.drafter import DRAFT_WINDOWS
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.schedule import Alone, Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class DraftOnly(Decoder):
    """Autoregressive decoding by the draft model. The upper limit of every decoder's speed."""

    lossless = False
    idea = "the draft model alone, not the target's output"

    def simulated_as(self) -> Schedule:
        return Alone(drafts=True)

    def start(self, models: Models, sampler: Sampler) -> Session:
        return DraftOnlySession(self, models, sampler)


class DraftOnlySession(Session):
    """Holds the draft model in this process, beside a target that is not asked."""

    def load(self, models: Models) -> None:
        self.draft = models.load_draft()

    def prepare(self, start: int, end: int) -> None:
        self.draft.prepare(DRAFT_WINDOWS, start, end)

    def generate(self, sequence: Sequence) -> None:
        self.draft.rollback(0)
        proposer = self.sampler.proposer(sequence.seed, len(sequence))
        for one in self.rounds(sequence):
            one.mode = "draft"
            drafted = self.draft_here(sequence, self.draft, proposer, 1)
            proposer.forget(len(sequence))
            sequence.take(drafted)
