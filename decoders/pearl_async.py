"""PEARL without a barrier: the draft model runs on, the target judges whatever there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from decoders.decoder import Decoder, Overlap
from decoders.process.clock import clock
from decoders.process.drafter import DRAFT_WINDOWS
from decoders.process.forerunner import Forerunner
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Draft, Sampler
from decoders.schedule import Ahead, Schedule
from decoders.sequence import Text


@dataclass
class PearlAsync(Decoder):
    """Neither model waits for the other while there is something useful it could do.

    The draft model publishes each token as it is made, up to ``ahead`` tokens beyond the verified
    text. The target, whenever it is free, judges all that has been published, and adds one token of
    its own; where nothing has been published it just decodes. A token of the target's own does not
    throw away a draft that agrees with it. There is no draft length to tune.
    """

    overlap = Overlap.across_rounds
    idea = "the draft model runs on, the target judges what there is"

    ahead: int = 96

    def __post_init__(self) -> None:
        if self.ahead < 1:
            raise ValueError(
                "decoder.ahead is how far the draft model may run ahead and must be at least 1,"
                f" got {self.ahead}"
            )

    def simulated_as(self) -> Schedule:
        return Ahead(self.ahead)

    def start(self, models: Models, sampler: Sampler) -> None:
        # Whether a token was drafted in time or decoded by the target is a matter of timing, which
        # must not decide what is drawn.
        super().start(models, sampler.with_own_choice())
        self.forerunner = Forerunner(models.load_draft, self.sampler, models.draft_process)
        self.forerunner.wait_ready()

    def stop(self) -> None:
        if hasattr(self, "forerunner"):
            self.forerunner.close()

    def peak_memory_bytes(self) -> int:
        return self.forerunner.peak_memory_bytes()

    def ends_run(self, one: Round) -> bool:
        # The draft model drafts for the target's own token as well, and the two are compared.
        return False

    def windows(self) -> Iterable[int]:
        return range(1, self.ahead + 2)

    def prepare(self, start: int, end: int) -> None:
        super().prepare(start, end)
        self.forerunner.prepare(DRAFT_WINDOWS, start, end)

    def rounds(self, text: Text) -> Iterator[Round]:
        # The target adds one token itself, so the last of the text need not be drafted.
        end = len(text.tokens) + text.remaining - 1
        self.forerunner.begin(text.tokens, self.ahead, end, self.seed)
        while not text.finished:
            start = clock()
            bytes_before = self.forerunner.bytes_sent
            drafted = self.forerunner.read()
            agreed, compared = self.forerunner.settle(text.tokens)
            pending = Draft(self.forerunner.pending(text.tokens))
            target_start = clock()
            logits = self.target.extend(text.tokens + pending.tokens, rows=len(pending) + 1)
            target = self.verifier.read(logits, len(text.tokens))
            target_seconds = clock() - target_start
            candidates = text.until_stop(pending)
            judgement = self.verifier.judge(target, candidates)
            known = len(text.tokens)
            self.target.rollback(known + judgement.accepted)
            text.append(judgement.verified(candidates))
            if text.finished:
                drafted += self.forerunner.pause()
            else:
                rejected = judgement.accepted < judgement.judged
                self.forerunner.judged(judgement.accepted, rejected)
                self.forerunner.verify(known, text.tokens[known:])
            yield Round(
                "verify" if pending else "decode",
                drafted=len(drafted),
                judged=compared + judgement.judged,
                accepted=agreed + judgement.accepted,
                draft_seconds=sum(one.seconds for one in drafted),
                target_seconds=target_seconds,
                wait_draft_seconds=sum(one.waited for one in drafted),
                start=start,
                bytes_sent=self.forerunner.bytes_sent - bytes_before,
                verified_length=len(text.output),
                draft_start=start,
                target_start=target_start,
                drafted_ids=[one.token for one in drafted],
                drafted_at=[one.position - text.prompt_length for one in drafted],
                target_tokens=self.target.take_tokens(),
            )
