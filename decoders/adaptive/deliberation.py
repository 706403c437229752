"""Whether it pays to weigh when the target starts, since that takes time, too."""

from __future__ import annotations

#: Seconds that weighing is taken to gain at first, so that a pair is got to know.
_AT_FIRST = 0.001
#: How much of the average each weighed round makes. Most rounds gain nothing, some much: an average
#: of few rounds would fall below 0 by chance, and then few are weighed.
_TAKEN = 0.05
#: Where it does not pay, one round in so many is weighed nevertheless: that may change.
_SELDOM = 10
#: A decision's time and what comes with it: what is learned of each token, what the draft process
#: works out and is told.
_WITH_ALL = 2.0
#: Seconds that this is taken to cost at most: what seems to take longer was interrupted.
_MOST = 0.001


class Deliberation:
    """Weighs all rounds as long as that saves more time than it takes, and few where it does not.

    Where both models' forwards take about a millisecond, a decision costs a few percent of a round.
    """

    def __init__(self) -> None:
        self._gain = _AT_FIRST
        self._left = 0
        self._by_others = 0.0

    def pays(self) -> bool:
        """Whether to weigh this round; to be asked once in each."""
        if self._left:
            self._left -= 1
            return False
        return True

    @property
    def nears(self) -> bool:
        """Whether what is drafted from now on is there when a round is weighed."""
        return self._left < 2

    def came(self, saved: float) -> None:
        """A token came that was drafted for beside the draft, which saved so many seconds.

        That was decided in the last round that was weighed.
        """
        self._by_others += saved

    def weighed(self, saved: float, seconds: float) -> None:
        """A decision took so many seconds, and is expected to save others."""
        gain = saved + self._by_others - min(_WITH_ALL * seconds, _MOST)
        self._by_others = 0.0
        self._gain += _TAKEN * (gain - self._gain)
        self._left = 0 if self._gain > 0 else _SELDOM - 1
