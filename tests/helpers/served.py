"""An engine's steps over several texts beside a draft process, on simulated time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from decoders.vllm.patience import StepPolicy

MOST, AHEAD = 12, 32


class Speeds(NamedTuple):
    """``step`` seconds of one that reads nothing, ``token`` for each that it reads, ``draft`` of a
    forward of the draft model."""

    step: float
    token: float
    draft: float


class Last(NamedTuple):
    ended: float
    confidence: float


class ServedAlone:
    """A text and its draft. ``right``: which tokens the draft model would get right, by position;
    ``confidences``: what it thinks of each."""

    def __init__(self, right: Sequence[bool], confidences: Sequence[float]) -> None:
        self.right, self.sure = right, confidences
        self.known = self.base = self.end = self.compared = 0
        self.stale = False

    @property
    def pending(self) -> Sequence[float]:
        return () if self.stale else self.sure[self.known : self.end]

    def drafted(self) -> None:
        if self.end - self.known >= AHEAD and not self.stale:
            return
        if self.stale:
            self.base = self.end = self.compared = self.known
            self.stale = False
        self.end += 1

    def gain(self, judged: int) -> int:
        """A step judged so many; gives how many tokens it gained."""
        accepted = 0
        while accepted < judged and self.right[self.known + accepted]:
            accepted += 1
        self.known += accepted + 1
        return accepted + 1

    def settle(self, policy: StepPolicy | None) -> None:
        if self.stale:
            return
        found = self.right[self.compared : min(self.known, self.end)]
        agreed = next((at for at, right in enumerate(found) if not right), len(found))
        place = self.compared - self.base
        if policy is not None and found:
            before = self.sure[self.compared - 1] if place else None
            seen = self.sure[self.compared : self.compared + min(agreed + 1, len(found))]
            policy.verified(seen, place, before, agreed)
        self.compared += agreed
        # One that was overtaken begins anew, too.
        self.stale = agreed < len(found) or self.end < self.known


def tokens_per_second(
    texts: Sequence[ServedAlone], speeds: Speeds, rule: StepPolicy | int, tokens: int
) -> float:
    """Of steps until each text has ``tokens`` tokens, by a rule or a number to wait for."""
    policy = rule if isinstance(rule, StepPolicy) else None
    now = told = begun = 0.0
    made = 0
    while min(text.known for text in texts) < tokens:

        def draft(until: float) -> None:
            """What the draft process does until then; it is at a forward that it began earlier."""
            nonlocal begun
            while begun + speeds.draft <= until:
                for text in texts:
                    if not text.stale or begun >= told:  # noqa: B023 (called at once)
                        text.drafted()
                if policy is not None:
                    policy.drafted(speeds.draft, begun < told)  # noqa: B023
                begun += speeds.draft
            for text in texts:
                text.settle(policy)

        draft(now)
        while True:
            held = [min(len(text.pending), MOST) for text in texts]
            if policy is None:
                assert isinstance(rule, int)
                judged, awaited = held, int(min(held) < rule)
            else:
                situations = [
                    policy.situation(
                        text.pending,
                        text.known - text.base,
                        Last(begun, text.sure[text.end - 1]) if text.end else None,
                        text.stale,
                        AHEAD,
                        told,
                        now,
                    )
                    for text in texts
                ]
                judged, awaited, _ = policy.decide(situations)
            if not awaited:
                break
            now = begun + speeds.draft
            draft(now)
        seconds = speeds.step + speeds.token * (len(texts) + sum(judged))
        now += seconds
        draft(now)
        made += sum(text.gain(count) for text, count in zip(texts, judged, strict=True))
        for text in texts:
            text.settle(policy)
        if policy is not None:
            policy.stepped(seconds, len(texts), sum(judged))
        told = now
    return made / now


def random_texts(count: int, length: int, chance: Callable[[float], float]) -> list[ServedAlone]:
    """Texts whose tokens are right by a chance of their confidence, which is from 0 to 1."""
    made = []
    for number in range(count):
        rng = random.Random(number)
        sure = [math.sqrt(rng.random()) for _ in range(length)]
        made.append(ServedAlone([rng.random() < chance(one) for one in sure], sure))
    return made
