"""The best that can be decided where tokens are right independently of each other: by dynamic
programming, exactly.

Time counts in draft forwards, and a forward of the target takes a whole number of them. So what
there is when the target is free is told by one number: of drafted tokens at hand. A run of right
drafts begins with none, and has ``1 / (1 - α)`` tokens with the one that takes the place of the
wrong one; only its time is up to what is decided (docs/adaptive.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from decoders.adaptive.drafts import Situation
from decoders.adaptive.policy import Decision, Policy

#: More tokens at hand count as so many.
_MOST_HELD = 96
#: Seconds by which two rounds of value iteration may differ.
_SETTLED = 1e-9


class Optimum(Policy):
    """Decides as is best.

    Parameters
    ----------
    rate
        The chance of each token.
    forwards
        Draft forwards that a forward of the target takes which judges 0, 1, 2, … tokens.
    """

    def __init__(self, rate: float, forwards: Sequence[int]) -> None:
        super().__init__()
        held = np.arange(_MOST_HELD + 1)[:, None]
        judged = np.arange(len(forwards))[None, :]
        seconds = np.array(forwards)[None, :]
        # Of those at hand and those drafted meanwhile one is for the token that the target adds.
        left = np.clip(held + seconds - judged - 1, 0, _MOST_HELD)
        going_on = rate ** (judged + 1.0)
        #: Seconds to the end of a run.
        ends = np.zeros(_MOST_HELD + 1)
        while True:
            starting = np.where(judged <= held, seconds + going_on * ends[left], np.inf)
            waiting = 1 + np.append(ends[1:], ends[-1])
            better = np.minimum(starting.min(axis=1), waiting)
            if np.abs(better - ends).max() < _SETTLED:
                break
            ends = better
        self._judged = starting.argmin(axis=1)
        self._waits = waiting < starting.min(axis=1)
        #: Tokens for each draft forward, of an endless text.
        self.speed = 1 / ((1 - rate) * ends[0])

    def decide(self, now: Situation) -> Decision:
        held = min(len(now.confidences), _MOST_HELD)
        return Decision(int(self._judged[held]), int(self._waits[held] and now.arrival < np.inf))
