"""PEARL without a barrier: the draft model runs on, the target judges whatever there is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from decoders.decoder import Decoder, Models, Round
from decoders.draft_length import AUTO
from decoders.forerunner import Forerunner
from decoders.sampler import Draft, Sampler
from decoders.stopwatch import clock
from decoders.text import Text

#: Of the tokens drafted during a forward of the target, how many ``lead`` is at ``auto``.
_SHARE = 0.2


@dataclass
class PearlAsync(Decoder):
    """Neither model waits for the other while there is something useful it could do.

    The draft model publishes each token as it is made, up to ``ahead`` tokens beyond the verified
    text. The target, whenever it is free, judges all that has been published, and adds one token of
    its own. A token of the target's own does not throw away a draft that agrees with it. There is
    no draft length to tune.

    After a rejection nothing is published. To decode a token then, for the time of a whole forward,
    is less useful than to judge the first tokens that come: so it lets the draft model be
    ``lead`` tokens ahead before it begins, which at ``auto`` is a fifth of those drafted during its
    forward. In simulation that is near the best for any acceptance rate; it is none where the
    target is less than some three times as slow as the draft model.
    """

    runs_span_rounds = True

    ahead: int = 48
    lead: int | str = AUTO

    def __post_init__(self) -> None:
        if self.ahead < 1:
            raise ValueError(
                "decoder.ahead is how far the draft model may run ahead and must be at least 1,"
                f" got {self.ahead}"
            )
        if (isinstance(self.lead, str) and self.lead != AUTO) or (
            isinstance(self.lead, int) and not 0 <= self.lead <= self.ahead
        ):
            raise ValueError(
                "decoder.lead is how far the draft model must be ahead, from 0 to"
                f" decoder.ahead={self.ahead}, or {AUTO}, got {self.lead!r}"
            )

    def start(self, models: Models, sampler: Sampler) -> None:
        # Whether a token was drafted in time or decoded by the target is a matter of timing, which
        # must not decide what is drawn.
        super().start(models, sampler.with_own_choice())
        self.forerunner = Forerunner(models.load_draft, self.sampler, models.draft_process)
        self.forerunner.wait_ready()
        self._target_pace, self._draft_pace = Pace(), Pace()

    def stop(self) -> None:
        if hasattr(self, "forerunner"):
            self.forerunner.close()

    def peak_memory_bytes(self) -> int:
        return self.forerunner.peak_memory_bytes()

    def rounds(self, text: Text) -> Iterator[Round]:
        self.forerunner.begin(text.tokens, self.ahead, self.seed)
        while not text.finished:
            start = clock()
            bytes_before = self.forerunner.bytes_sent
            drafted = self.forerunner.read()
            agreed, compared = self.forerunner.settle(text.tokens)
            # The target adds one token itself, so the last of the text need not be judged.
            lead = min(self._chosen_lead(), text.remaining - 1)
            while len(self.forerunner.pending(text.tokens)) < lead:
                drafted += self.forerunner.read(wait=True)
                more = self.forerunner.settle(text.tokens)
                agreed, compared = agreed + more[0], compared + more[1]
            pending = Draft(self.forerunner.pending(text.tokens)[: text.remaining - 1])
            target_start = clock()
            logits = self.target.extend(text.tokens + pending.tokens, rows=len(pending) + 1)
            target = self.verifier.read(logits, len(text.tokens))
            target_seconds = clock() - target_start
            if text.output:
                # Not of the prompt, whose forward takes longer.
                self._target_pace.add(target_seconds, 1)
                self._draft_pace.add(sum(one.seconds for one in drafted), len(drafted))
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
                wait_target_seconds=target_start - start,
                start=start,
                bytes_sent=self.forerunner.bytes_sent - bytes_before,
                verified_length=len(text.output),
                draft_start=start,
                target_start=target_start,
                drafted_ids=[one.token for one in drafted],
                drafted_at=[one.position - text.prompt_length for one in drafted],
                target_tokens=self.target.take_tokens(),
            )

    def _chosen_lead(self) -> int:
        if isinstance(self.lead, int):
            return self.lead
        target, draft = self._target_pace.seconds, self._draft_pace.seconds
        return min(self.ahead, round(_SHARE * target / draft)) if target and draft else 0


class Pace:
    """How long something takes on average."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._count = 0

    def add(self, seconds: float, count: int) -> None:
        """Count so many that took so long together."""
        self._seconds += seconds
        self._count += count

    @property
    def seconds(self) -> float:
        """Seconds each; 0 where there was none."""
        return self._seconds / self._count if self._count else 0.0
