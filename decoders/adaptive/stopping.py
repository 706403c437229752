"""When the target starts, and how many drafted tokens it judges: a rule of optimal stopping.

How many tokens a run of right drafts has, until the first wrong one, is up to the two models. Only
how long it takes is up to the decoder. So of all that can be done next that is best after which the
wrong token is expected to be found soonest: docs/adaptive.md has the derivation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

#: So many tokens that are not drafted yet are looked ahead for, at most.
_FURTHER = 8
#: What is less likely than this is not weighed.
UNLIKELY = 0.02
#: What a second of waiting is taken to cost. Where drafts are nearly always right it makes hardly
#: any difference when the target starts, so what is expected wrongly would decide.
PRICE = 1.3


class Start(NamedTuple):
    """What to do: judge so many of the tokens at hand now, or else wait for so many more first.

    ``saved`` is how much sooner that is expected to end the run than to judge all of them now.
    """

    judged: int
    awaited: int
    saved: float = 0.0


class Timings(NamedTuple):
    """How long things take, in seconds.

    ``forwards`` are the target's, which judge 0, 1, 2, … tokens; no more are judged than it has
    entries for. ``draft`` is how often a token is drafted while the target is at work, and
    ``waiting`` while it waits.
    """

    forwards: Sequence[float]
    draft: float
    waiting: float

    def steady(self) -> tuple[float, float]:
        """Tokens that each forward takes a text further while all drafts are right, and its time.

        It judges what was drafted meanwhile and adds one, for which a draft was there: so as many
        as are drafted in the time.
        """
        judged = 0
        for seconds in self.forwards:
            judged += 1
            if judged * self.draft >= seconds:
                break
        return judged, seconds


class RunEnds(NamedTuple):
    """When the wrong token of a text is expected to be found, by what is done next.

    ``seconds`` are the expected ones, at a price of waiting: if the target starts now and judges
    ``judged`` of the tokens at hand, and if it starts once one, two, … more are there and judges
    all of them. ``arrival`` is in how many seconds the first of these is expected. ``unweighed``
    are the seconds if the target starts now and judges all.
    """

    judged: int
    seconds: Sequence[float]
    arrival: float
    unweighed: float = 0.0


def expected_ends(
    chances: Sequence[float],
    unseen: float,
    arrival: float,
    timings: Timings,
    typical: float | None = None,
) -> RunEnds:
    """What each thing that can be done is expected to lead to.

    Parameters
    ----------
    chances
        Of each drafted token at hand, that it is right if all before it are. Those that are as good
        as never right (``UNLIKELY``) may be left out.
    unseen
        The same of a token that is not drafted yet.
    arrival
        Seconds until the next token is drafted; infinite where none will be.
    timings
        What takes how long.
    typical
        The chance of each token after the next that is drafted; without it, as that one's.
    """
    typical = unseen if typical is None else typical
    forwards, draft, waiting = timings
    most, held = len(forwards) - 1, len(chances)
    if arrival == math.inf:
        return RunEnds(min(held, most), (0.0,), arrival)
    right = [1.0]  # the chance that the first 0, 1, 2, … tokens are all right
    for chance in chances:
        right.append(right[-1] * chance)
    all_right = right[-1]
    right.append(all_right * unseen)
    gain, later = timings.steady()
    # Of later forwards the chance of each is `typical**gain` that of the one before.
    later /= 1 - typical**gain
    soonest, judged = math.inf, 0
    for count in range(min(held, most) + 1):
        first = forwards[count]
        # One is under way.
        drafted = max(0.0, 1 + (first - arrival) / draft)
        then = min(float(most), max(0.0, held + drafted - count - 1))
        # Tokens that are known after two forwards, if all are right, that are not at hand yet.
        known = count + then + 2 - held
        if known > 0:
            after = all_right * unseen ** min(known, 1.0) * typical ** max(0.0, known - 1)
        else:
            after = right[int(known) + held]
        seconds = first + right[count + 1] * forwards[int(then + 0.5)] + after * later
        if seconds < soonest:
            soonest, judged = seconds, count
    ends, unweighed = [soonest], seconds
    joint, waited = right[-1], arrival
    for count in range(held + 1, min(held + _FURTHER, most) + 1):
        joint *= typical
        if joint < UNLIKELY or waited >= soonest:
            break
        first = forwards[count]
        then = min(float(most), max(0.0, first / draft - 1))
        ends.append(
            PRICE * waited
            + first
            + joint * (forwards[int(then + 0.5)] + typical ** (then + 1) * later)
        )
        soonest = min(soonest, ends[-1])
        waited += waiting
    return RunEnds(judged, ends, arrival, unweighed)


def best_start(chances: Sequence[float], unseen: float, arrival: float, timings: Timings) -> Start:
    """What is expected to end the run of right drafts soonest: see ``expected_ends``."""
    judged, seconds, _, unweighed = expected_ends(chances, unseen, arrival, timings)
    soonest = min(seconds)
    return Start(judged, seconds.index(soonest), unweighed - soonest)


def savings(chances: Sequence[float], typical: float, timings: Timings) -> list[float]:
    """How much sooner a run is expected to end if its first, second, … token is at hand.

    Parameters
    ----------
    chances
        Of these tokens, each that it is right if all before it are.
    typical
        The same of each token after them.
    timings
        What takes how long. The next token comes as late as one does while the target waits.
    """
    later = [*chances, typical]
    ends = [
        min(expected_ends(chances[:held], later[held], timings.waiting, timings, typical).seconds)
        for held in range(len(chances) + 1)
    ]
    return [max(0.0, before - after) for before, after in pairwise(ends)]


def best_wait(texts: Sequence[RunEnds], waiting: float) -> int:
    """For how many draft forwards several texts wait that are judged in one forward of the target.

    Each draft forward drafts a token for each of them. What is least in sum is best. The next one
    may have been begun for a text that went elsewhere since: that one has its next token a forward
    later than others. One that has no more to expect, or nothing that matters, only waits.
    """
    soonest = min((text.arrival for text in texts), default=math.inf)
    if soonest == math.inf:
        return 0

    def until(forwards: int) -> float:
        return soonest + (forwards - 1) * waiting if forwards else 0.0

    late = [
        int((text.arrival - soonest) / waiting + 0.5) if text.arrival < math.inf else 0
        for text in texts
    ]
    most = max(len(text.seconds) - 1 + later for text, later in zip(texts, late, strict=True))
    sums = [0.0] * (most + 1)
    for (_, seconds, *_), later in zip(texts, late, strict=True):
        for forwards in range(most + 1):
            made = min(max(0, forwards - later), len(seconds) - 1)
            idle = until(forwards) - until(made + later if made else 0)
            sums[forwards] += seconds[made] + PRICE * idle
    return sums.index(min(sums))
