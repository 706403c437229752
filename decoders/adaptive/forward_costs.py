"""How long forwards take, measured as a run goes."""

from __future__ import annotations

from decoders.adaptive.average import OUTLIER, Average

#: How much of each measurement is taken over: by the level of all forwards, and by the shape.
_LEVEL, _SHAPE = 0.15, 0.1
#: A forward is taken to last so much longer for each token more, before that was measured.
_SLOPE = 0.02
#: After so many measurements the shape is worked out anew.
_RENEWED = 8


class ForwardCosts:
    """Seconds of the target's forwards by how many tokens they judge, ``most`` at most.

    All become slower together as a text grows or the machine has more to do, so there is a level,
    which each forward moves, and a shape, which each moves at its own place. The shape is a line
    until forwards say otherwise.
    """

    def __init__(self, most: int) -> None:
        self._level = Average(_LEVEL)
        self._shape = [1 + _SLOPE * judged for judged in range(most + 1)]
        self._known: set[int] = set()
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, judged: int, seconds: float) -> None:
        """A forward that judged so many tokens took so long."""
        expected = self._shape[judged]
        self._level.add(seconds / expected)
        relative = min(seconds / self._level.value, OUTLIER * expected)
        self._shape[judged] += _SHAPE * (relative - expected)
        self._known.add(judged)
        self._count += 1
        if self._count % _RENEWED == 0:
            self._fill_in()

    def relative(self, judged: int) -> float:
        """How many times as long as others of its level such a forward takes."""
        return self._shape[judged]

    def seconds(self) -> list[float]:
        """Of forwards that judge 0, 1, 2, … tokens."""
        level = self._level.value
        return [level * one for one in self._shape]

    def _fill_in(self) -> None:
        """Straight lines between the sizes that were measured, and on from there."""
        known, shape = sorted(self._known), self._shape
        slope = _SLOPE
        if known[-1] > known[0]:
            slope = max(0.0, (shape[known[-1]] - shape[known[0]]) / (known[-1] - known[0]))
        for judged in range(len(shape)):
            if judged in self._known:
                continue
            after = next((one for one in known if one > judged), None)
            if after is None:
                shape[judged] = shape[known[-1]] + slope * (judged - known[-1])
            elif after == known[0]:
                shape[judged] = shape[after] - slope * (after - judged)
            else:
                before = judged - 1
                shape[judged] = shape[before] + (shape[after] - shape[before]) / (after - before)
