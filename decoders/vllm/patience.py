"""For how many drafted tokens a step of vLLM waits.

A step of an engine takes about as long whether it verifies eight drafted tokens or none, so after
a disagreement, when none is at hand, it may pay to let the target wait for some. It does not where
the draft model is slow or seldom right, and less where steps are short. What each wait would lead
to is predicted from what is measured as the run goes.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What remains of a measurement after each later one: the last 20 to 100 make an average.
_KEPT, _KEPT_LONG = 0.95, 0.99
#: Drafted tokens that are taken as accepted and as rejected before any was.
_PRIOR_AGREED, _PRIOR_REJECTED = 4.0, 1.0
#: Steps that must have been measured before any waiting, and before their slope counts.
_FIRST_STEPS, _FIRST_SLOPE = 4, 16
#: Steps between two choices of how long to wait.
_CHOICE = 8
#: An acceptance is not taken to be nearer to 1.
_NOT_SURE = 0.995
#: A measurement counts as at most so many times the average: the system was at something else.
_OUTLIER = 3.0


@dataclass(frozen=True)
class StepCosts:
    """What is measured of a run.

    Parameters
    ----------
    acceptance
        α, the probability that a drafted token is accepted if those before it are.
    step
        Seconds of a step that verifies nothing.
    token
        Seconds by which a step is longer for each token that it verifies.
    draft
        Seconds of a forward of the draft model, which drafts a token for each text.
    """

    acceptance: float
    step: float
    token: float
    draft: float


def rate(wait: int, most: int, texts: int, costs: StepCosts) -> float:
    """Tokens a second, predicted, if each step waits until ``wait`` drafted tokens are at hand.

    A text is in one of two states when a step is to begin. Either the last step agreed with all
    that was drafted, the target's own token included: then the draft model has gone on all the
    time, and has drafted what a step takes, less that token. Or it did not: then the draft begins
    anew, behind half a forward that was of no use. So much is at hand, or ``wait`` is waited for; h
    of it are verified, 1 + α + α² + … + α^h tokens are gained, and all agree with probability
    α^(h+1), the target's own one included. This makes a Markov chain of two states, and the rate
    is what a step gains by what it takes, on average over the share of either state. Of several
    texts each is in a state of its own, and all of them wait for the one that is last.

    Parameters
    ----------
    wait
        Drafted tokens that a step waits for.
    most
        How many a step verifies of a text.
    texts
        How many there are.
    costs
        What is measured.
    """
    alpha = min(costs.acceptance, _NOT_SURE)
    anew = float(min(wait, most))
    step = costs.step + costs.token * texts * anew
    going_on = min(float(most), max(step / costs.draft - 1, wait))
    agreed_anew, agreed_going_on = alpha ** (anew + 1), alpha ** (going_on + 1)
    share = agreed_anew / (1 - agreed_going_on + agreed_anew)
    all_go_on = share**texts
    waited = (1 - all_go_on) * (wait + 0.5) * costs.draft if wait else 0.0
    waited += all_go_on * max(0.0, (wait + 1) * costs.draft - step)
    held = (1 - share) * anew + share * going_on
    gained = (1 - share) * _gained(alpha, anew) + share * _gained(alpha, going_on)
    return texts * gained / (costs.step + costs.token * texts * held + waited)


def best_wait(most: int, texts: int, costs: StepCosts) -> int:
    """For how many drafted tokens it pays to wait: where the predicted rate is highest."""
    if not texts or not costs.draft or not costs.step:
        return 0
    return max(range(most + 1), key=lambda wait: rate(wait, most, texts, costs))


def _gained(alpha: float, held: float) -> float:
    """Tokens that a step gains: 1 + α + … + α^held, between whole numbers too."""
    return (1 - alpha ** (held + 1)) / (1 - alpha)


class MovingMean:
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


class MovingSlope:
    """By how much one thing grows with another: moving least squares, at least 0."""

    def __init__(self) -> None:
        self._x, self._y = MovingMean(_KEPT_LONG), MovingMean(_KEPT_LONG)
        self._xx, self._xy = MovingMean(_KEPT_LONG), MovingMean(_KEPT_LONG)
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

    @property
    def at_zero(self) -> float:
        """How large the one thing is where the other is 0."""
        return max(0.0, self._y.value - self.value * self._x.value)


class Pace:
    """What a run costs and gains, measured as it goes."""

    def __init__(self) -> None:
        self._agreed, self._compared = _PRIOR_AGREED, _PRIOR_AGREED + _PRIOR_REJECTED
        self._draft, self._steps = MovingMean(), MovingSlope()
        self._measured = 0
        #: What was chosen, for so many texts, after so many steps.
        self._chosen: tuple[int, int, int] | None = None

    @property
    def costs(self) -> StepCosts:
        """What was measured so far; 0 where nothing was."""
        return StepCosts(
            self._agreed / self._compared,
            self._steps.at_zero,
            self._steps.value,
            self._draft.value,
        )

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

    def stepped(self, seconds: float, verified: int) -> None:
        """A step that verified so many tokens took so long, without waiting."""
        self._measured += 1
        self._steps.add(verified, seconds)

    def wait(self, most: int, texts: int) -> int:
        """For how many drafted tokens it pays to wait, see :func:`best_wait`; at first for none."""
        if self._measured < _FIRST_STEPS:
            return 0
        if self._chosen is not None:
            wait, chosen_for, after = self._chosen
            if chosen_for == texts and self._measured - after < _CHOICE:
                return wait
        wait = best_wait(most, texts, self.costs)
        self._chosen = wait, texts, self._measured
        return wait
