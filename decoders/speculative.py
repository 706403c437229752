"""Vanilla speculative decoding: draft a block, then verify it (Leviathan et al., ICML 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from decoders.accepted_runs import acceptance_rate
from decoders.decoder import Decoder
from decoders.draft_length import AUTO, check_gamma, choose_expected_best
from decoders.process.drafter import DRAFT_WINDOWS
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Sampler
from decoders.schedule import Schedule, Sequential
from decoders.sequence import Sequence
from decoders.session import Session

#: Draft length of the first prompt where it is to be chosen: that prompt measures α.
_FIRST_GAMMA = 5


@dataclass
class Speculative(Decoder):
    """Draft ``gamma`` tokens, verify them with one target forward, add a token of the target's own.

    The two models take turns in one process: while one works, the other waits. ``gamma=auto``
    chooses it after the first prompt, from that prompt's acceptance rate and measured forwards.
    """

    idea = "the models take turns, one waits for the other"

    gamma: int | str = 5

    def __post_init__(self) -> None:
        check_gamma(self.gamma)

    def simulated_as(self) -> Schedule:
        return Sequential(self.gamma)

    def start(self, models: Models, sampler: Sampler) -> Session:
        return SpeculativeSession(self, models, sampler)


class SpeculativeSession(Session):
    """Holds the draft model in this process, and the draft length in use."""

    decoder: Speculative
    gamma: int

    def load(self, models: Models) -> None:
        self.draft = models.load_draft()
        asked = self.decoder.gamma
        self.gamma = _FIRST_GAMMA if asked == AUTO else int(asked)

    def prepare(self, start: int, end: int) -> None:
        super().prepare(start, end)
        self.draft.prepare(DRAFT_WINDOWS, start, end)

    def generate(self, sequence: Sequence) -> None:
        self.draft.rollback(0)
        proposer = self.sampler.proposer(sequence.seed, len(sequence))
        for one in self.rounds(sequence):
            one.mode = "verify"
            # The target adds one token itself, so the last of the text need not be drafted.
            count = min(self.gamma, sequence.remaining - 1)
            draft = self.draft_here(sequence, self.draft, proposer, count)
            seen = self.read(sequence, draft)
            judgement = sequence.judge(seen, draft, proposer.row)
            verified = len(sequence) + len(judgement.accepted)
            self.target.rollback(verified)
            self.draft.rollback(verified)
            sequence.append(judgement.verified)
            proposer.forget(len(sequence))

    def after_warmup(self, rounds: list[Round]) -> None:
        if self.decoder.gamma == AUTO:
            rate = acceptance_rate(rounds) or 0.0
            self.gamma = choose_expected_best(self.target, self.draft, rate)
