"""By how much a target's forwards are slower while a draft model runs beside them."""

from __future__ import annotations

from decoders.adaptive.line import Line

#: What is taken at first, and how much that counts: as much as shares that differ by so much.
_PRIOR, _WEIGHT = 0.1, 0.01


class LearnedSlowdown:
    """How much slower, learned from forwards that a draft model ran beside for more or less long.

    By a line through the times of forwards, by the share of each in which the draft model ran.
    """

    def __init__(self) -> None:
        self._line = Line(_PRIOR, _WEIGHT)
        self._begun = False

    def add(self, share: float, seconds: float) -> None:
        """Beside a share of a forward, which took so long for one of its kind."""
        # The first forward of its kind may take twice as long, whatever runs beside it: there is
        # nothing yet that would show it.
        if self._begun:
            self._line.add(share, seconds)
        self._begun = True

    @property
    def value(self) -> float:
        """What share longer a forward takes if the draft model runs all the time."""
        alone = self._line.at(0.0) if self._line else 0.0
        return min(max(self._line.slope / alone, 0.0), 1.0) if alone > 0 else _PRIOR
