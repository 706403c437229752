"""How one thing grows with another, measured as a run goes."""

from __future__ import annotations

from decoders.adaptive.average import OUTLIER

#: What remains of a measurement after each later one.
_KEPT = 0.98


class Line:
    """A straight line by least squares, the recent points counting most.

    Parameters
    ----------
    slope
        What it is taken to rise by for each 1, as a share of its mean, before that was measured.
    weight
        How much that counts: as much as points whose places have this variance.
    """

    def __init__(self, slope: float, weight: float) -> None:
        self._prior, self._weight = slope, weight
        self._sums = [0.0] * 5

    def __bool__(self) -> bool:
        """Whether there is a point."""
        return self._sums[0] > 0

    def add(self, place: float, value: float) -> None:
        """A point."""
        if self:
            mean = self._sums[2] / self._sums[0]
            value = min(value, OUTLIER * max(mean, self.at(place)))
        count, places, values, squares, products = self._sums
        self._sums = [
            _KEPT * count + 1.0,
            _KEPT * places + place,
            _KEPT * values + value,
            _KEPT * squares + place * place,
            _KEPT * products + place * value,
        ]

    @property
    def slope(self) -> float:
        """What it rises by for each 1."""
        count, places, values, squares, products = self._sums
        place, mean = places / count, values / count
        variance = squares / count - place * place
        covariance = products / count - place * mean
        return (covariance + self._weight * self._prior * mean) / (variance + self._weight)

    def at(self, place: float) -> float:
        """Its value at a place."""
        count, places, values, *_ = self._sums
        return values / count + self.slope * (place - places / count)
