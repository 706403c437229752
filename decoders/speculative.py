"""Vanilla speculative decoding: draft a block, then verify it (Leviathan et al., ICML 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.draft_length import AUTO, check_gamma, choose_expected_best
from decoders.model.cached_model import CachedModel
from decoders.process.clock import clock
from decoders.process.drafter import DRAFT_WINDOWS
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Draft, Proposer, Sampler
from decoders.schedule import Schedule, Turns
from decoders.sequence import Text

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
        return Turns(self.gamma)

    def start(self, models: Models, sampler: Sampler) -> None:
        super().start(models, sampler)
        self.draft: CachedModel = models.load_draft()
        self.chosen_gamma = self.gamma if isinstance(self.gamma, int) else _FIRST_GAMMA

    def stop(self) -> None:
        if hasattr(self, "draft"):
            del self.draft

    def prepare(self, start: int, end: int) -> None:
        super().prepare(start, end)
        self.draft.prepare(DRAFT_WINDOWS, start, end)

    def rounds(self, text: Text) -> Iterator[Round]:
        self.draft.rollback(0)
        proposer = self.sampler.proposer(self.seed, len(text.tokens))
        while not text.finished:
            start = clock()
            # The target adds one token itself, so the last of the text need not be drafted.
            drafted = self._draft(text, proposer, min(self.chosen_gamma, text.remaining - 1))
            draft_done = clock()
            known = len(text.tokens)
            logits = self.target.extend(text.tokens + drafted.tokens, rows=len(drafted) + 1)
            target = self.verifier.read(logits, known)
            target_done = clock()
            candidates = text.until_stop(drafted)
            judgement = self.verifier.judge(target, candidates, proposer.row)
            verified = known + judgement.accepted
            self.target.rollback(verified)
            self.draft.rollback(verified)
            text.append(judgement.verified(candidates))
            proposer.forget(len(text.tokens))
            draft_seconds, target_seconds = draft_done - start, target_done - draft_done
            yield Round(
                "verify",
                drafted=len(drafted),
                judged=judgement.judged,
                accepted=judgement.accepted,
                draft_seconds=draft_seconds,
                target_seconds=target_seconds,
                wait_draft_seconds=target_seconds,
                wait_target_seconds=draft_seconds,
                start=start,
                verified_length=len(text.output),
                draft_start=start,
                target_start=draft_done,
                drafted_ids=drafted.tokens,
                drafted_at=text.positions(known, len(drafted)),
                target_tokens=self.target.take_tokens(),
            )

    def after_warmup(self, rounds: list[Round]) -> None:
        if self.gamma == AUTO:
            judged = sum(r.judged for r in rounds)
            rate = sum(r.accepted for r in rounds) / judged if judged else 0.0
            self.chosen_gamma = choose_expected_best(self.target, self.draft, rate)

    def _draft(self, text: Text, proposer: Proposer, count: int) -> Draft:
        drafted = Draft()
        for _ in range(count):
            tokens = text.tokens + drafted.tokens
            drafted.append(*proposer.propose(self.draft.extend(tokens, rows=1), len(tokens)))
        return drafted
