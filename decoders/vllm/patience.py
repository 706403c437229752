"""For how many drafted tokens a step of vLLM waits."""

from __future__ import annotations

from collections.abc import Sequence

#: What remains of a measurement after each later one: the last 20 to 100 make an average.
_KEPT, _KEPT_LONG = 0.95, 0.99
#: Drafted tokens that are taken as accepted and as rejected before any was.
_PRIOR_AGREED, _PRIOR_REJECTED = 4.0, 1.0
#: Steps that must have been measured before any waiting, and before its slope counts.
_FIRST_STEPS, _FIRST_SLOPE = 4, 16
#: A measurement counts as at most so many times the average: the system was at something else.
_OUTLIER = 3.0


def pays(
    at_hand: Sequence[int],
    most: int,
    acceptance: float,
    rate: float,
    draft_seconds: float,
    token_seconds: float,
) -> bool:
    """Whether a step should wait for one more forward of the draft model.

    That forward drafts one more token for each text. With n at hand the next one, the n+1st, is
    accepted if all of them are: with probability α^(n+1). It costs the time that it takes, and what
    one more token costs in the target's step. While the run makes R tokens a second, that time is
    worth R tokens a second. So it pays where the sum over texts of α^(n+1) is above R × time: stay
    where the marginal gain is above the average, the marginal value theorem (Charnov, 1976), which
    gives the highest R there is where R is the rate that this rule itself leads to.

    Parameters
    ----------
    at_hand
        Drafted tokens at hand, of each text for which more can come.
    most
        How many a step verifies of a text.
    acceptance
        α, the probability that a drafted token is accepted if those before it are.
    rate
        R: tokens that all texts together gain in a second.
    draft_seconds
        A forward of the draft model.
    token_seconds
        By how much a step is longer for one more token to verify.
    """
    short = [held for held in at_hand if held < most]
    if not short:
        return False
    gained = sum(acceptance ** (held + 1) for held in short)
    return gained > rate * (draft_seconds + token_seconds * len(short))


class Mean:
    """An average in which what was measured earlier counts less and less."""

    def __init__(self, kept: float = _KEPT) -> None:
        self._kept = kept
        self._sum = self._weight = 0.0

    def add(self, value: float) -> None:
        self._sum = self._sum * self._kept + value
        self._weight = self._weight * self._kept + 1

    def without_outlier(self, value: float) -> float:
        """A value, or the largest that counts."""
        return min(value, _OUTLIER * self.value) if self._weight else value

    @property
    def value(self) -> float:
        """0 where nothing was measured."""
        return self._sum / self._weight if self._weight else 0.0


class Slope:
    """By how much one thing grows with another: moving least squares, at least 0."""

    def __init__(self) -> None:
        self._x, self._y = Mean(_KEPT_LONG), Mean(_KEPT_LONG)
        self._xx, self._xy = Mean(_KEPT_LONG), Mean(_KEPT_LONG)
        self._measured = 0

    def add(self, x: float, y: float) -> None:
        y = self._y.without_outlier(y)
        self._measured += 1
        for mean, value in ((self._x, x), (self._y, y), (self._xx, x * x), (self._xy, x * y)):
            mean.add(value)

    @property
    def value(self) -> float:
        variance = self._xx.value - self._x.value**2
        if self._measured < _FIRST_SLOPE or variance <= 0:
            return 0.0
        return max(0.0, (self._xy.value - self._x.value * self._y.value) / variance)


class Pace:
    """What a run costs and gains, measured as it goes."""

    def __init__(self) -> None:
        self._agreed, self._compared = _PRIOR_AGREED, _PRIOR_AGREED + _PRIOR_REJECTED
        self._gained, self._seconds = Mean(), Mean()
        self._draft, self._slope = Mean(), Slope()
        self._steps = 0

    @property
    def acceptance(self) -> float:
        return self._agreed / self._compared

    @property
    def rate(self) -> float:
        """Tokens a second; 0 before it is known."""
        if self._steps < _FIRST_STEPS:
            return 0.0
        return self._gained.value / self._seconds.value

    @property
    def draft_seconds(self) -> float:
        return self._draft.value

    @property
    def token_seconds(self) -> float:
        return self._slope.value

    def judged(self, agreed: int, rejected: int) -> None:
        """Drafted tokens that turned out as the target's own, and not."""
        for _ in range(agreed + rejected):
            self._agreed *= _KEPT_LONG
            self._compared *= _KEPT_LONG
        self._agreed += agreed
        self._compared += agreed + rejected

    def drafted(self, seconds: float) -> None:
        """A forward of the draft model took so long."""
        self._draft.add(self._draft.without_outlier(seconds))

    def stepped(self, step_seconds: float, seconds: float, verified: int, gained: int) -> None:
        """A step verified and gained so many tokens, and took so long without and with waiting."""
        self._steps += 1
        self._slope.add(verified, step_seconds)
        self._seconds.add(self._seconds.without_outlier(seconds))
        self._gained.add(gained)

    def pays(self, at_hand: Sequence[int], most: int) -> bool:
        """Whether a step should wait for one more forward of the draft model, see :func:`pays`."""
        if not self.rate:
            return False
        return pays(
            at_hand, most, self.acceptance, self.rate, self.draft_seconds, self.token_seconds
        )
