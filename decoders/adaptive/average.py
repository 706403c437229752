"""Averages of what is measured as a run goes."""

from __future__ import annotations

#: A measurement counts as at most so many times the average: the system was at something else, or
#: prepared for forwards of a size that is new to it.
OUTLIER = 2.0
#: How much of an average each measurement makes.
_TAKEN = 0.1


class Average:
    """An average in which what was measured earlier counts less and less.

    ``taken`` is how much of it each measurement makes, once there are enough.
    """

    def __init__(self, taken: float = _TAKEN) -> None:
        self._taken, self._count = taken, 0
        self.value = 0.0

    def add(self, value: float) -> None:
        if self._count:
            value = min(value, OUTLIER * self.value)
        self._count += 1
        self.value += (value - self.value) * max(self._taken, 1 / self._count)
