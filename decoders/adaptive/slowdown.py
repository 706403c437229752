"""By how much a target's forwards are slower while a draft model runs beside them."""

from __future__ import annotations

#: What remains of a measurement after each later one.
_KEPT = 0.98
#: What is taken at first, and how much that counts: as much as shares that differ by so much.
_PRIOR, _WEIGHT = 0.1, 0.01


class LearnedSlowdown:
    """How much slower, learned from forwards that a draft model ran beside for more or less long.

    A straight line through the times of forwards by the share of each in which the draft model
    ran: by least squares, the recent forwards counting most.
    """

    def __init__(self) -> None:
        self._sums = [0.0] * 5

    def add(self, share: float, seconds: float) -> None:
        """Beside a share of a forward, which took so long for one of its kind."""
        new = (1.0, share, seconds, share * share, share * seconds)
        self._sums = [_KEPT * one + more for one, more in zip(self._sums, new, strict=True)]

    @property
    def value(self) -> float:
        """What share longer a forward takes if the draft model runs all the time."""
        count, shares, seconds, squares, products = self._sums
        if not count:
            return _PRIOR
        share, mean = shares / count, seconds / count
        variance = squares / count - share * share
        covariance = products / count - share * mean
        slope = (covariance + _WEIGHT * _PRIOR * mean) / (variance + _WEIGHT)
        alone = mean - slope * share
        return min(max(slope / alone, 0.0), 1.0) if alone > 0 else _PRIOR
