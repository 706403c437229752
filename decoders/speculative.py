"""Vanilla speculative decoding: draft a block, then verify it (Leviathan et al., ICML 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from decoders.decoder import Decoder, Models, Round, check_gamma, clock
from decoders.model import CachedModel
from decoders.sampler import Sampler
from decoders.text import Text


@dataclass
class Speculative(Decoder):
    """Draft ``gamma`` tokens, verify them with one target forward, add a token of the target's own.

    The two models take turns in one process: while one works, the other waits.
    """

    gamma: int = 5

    def __post_init__(self) -> None:
        check_gamma(self.gamma)

    def start(self, models: Models, sampler: Sampler) -> None:
        super().start(models, sampler)
        self.draft: CachedModel = models.load_draft()

    def rounds(self, text: Text) -> Iterator[Round]:
        self.draft.rollback(0)
        while not text.finished:
            start = clock()
            # The target adds one token itself, so the last of the text need not be drafted.
            drafted = self._draft(text, min(self.gamma, text.remaining - 1))
            draft_done = clock()
            target = self.sampler.read(
                self.target.extend(text.tokens + drafted, rows=len(drafted) + 1)
            )
            target_done = clock()
            candidates = text.until_stop(drafted)
            judgement = self.sampler.judge(target, candidates)
            verified = len(text.tokens) + judgement.accepted
            self.target.rollback(verified)
            self.draft.rollback(verified)
            text.append(candidates[: judgement.accepted])
            if not text.finished and judgement.token is not None:
                text.append([judgement.token])
            draft_seconds, target_seconds = draft_done - start, target_done - draft_done
            yield Round(
                "verify",
                drafted=len(drafted),
                judged=len(candidates),
                accepted=judgement.accepted,
                draft_seconds=draft_seconds,
                target_seconds=target_seconds,
                wait_draft_seconds=target_seconds,
                wait_target_seconds=draft_seconds,
                start=start,
                verified_length=len(text.output),
            )

    def _draft(self, text: Text, count: int) -> list[int]:
        tokens = list(text.tokens)
        for _ in range(count):
            tokens.append(self.sampler.choose(self.draft.extend(tokens, rows=1)))
        return tokens[len(text.tokens) :]
