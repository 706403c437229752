"""What is measured and learned of a pair, and the decisions that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from decoders.adaptive.alternatives import LEFT
from decoders.adaptive.calibration import SUREST
from decoders.adaptive.drafts import LearnedDrafts, Situation
from decoders.adaptive.forward_costs import ForwardCosts
from decoders.adaptive.slowdown import LearnedSlowdown
from decoders.adaptive.stopping import Timings, best_start, savings

#: The most drafted tokens that a forward judges.
MOST = 32
#: The most tokens that are drafted for what may come instead of a drafted token.
MOST_PREPARED = 8
#: After so many decisions it is worked out anew what these are worth.
_RENEWED = 16


class Decision(NamedTuple):
    """Judge so many of the tokens at hand now, or wait for ``awaited`` more first.

    ``chances``, ``right`` and ``unseen`` are those of ``Prospect``. ``seconds`` is how long the
    forward is expected to take; ``None`` where nothing was measured yet. ``saved`` is how much
    sooner the run is expected to end than if all of them were judged now, and the draft process
    were not told when to expect news.
    """

    judged: int
    awaited: int
    chances: Sequence[float] = ()
    right: float = 1.0
    unseen: float = 1.0
    seconds: float | None = None
    saved: float = 0.0


class Policy(LearnedDrafts):
    """Decides when the target starts and what it judges, by what it was told of a run so far."""

    def __init__(self) -> None:
        super().__init__()
        self._forwards = ForwardCosts(MOST)
        self._slowdown = LearnedSlowdown()
        self._reads = False
        self._gains: Sequence[float] = ()
        self._decided = 0

    def begin(self) -> None:
        """A new text: the next draft forward reads its prompt, and tells nothing of others."""
        self._reads = True

    def drafted(self, seconds: float, beside: bool) -> None:
        if not self._reads:
            super().drafted(seconds, beside)
        self._reads = False

    def ran(self, judged: int, seconds: float, share: float = 1.0) -> None:
        """A forward of the target that judged so many tokens took so long, with all around it.

        The draft model ran beside it for a ``share`` of the time.
        """
        self._slowdown.add(share, seconds / self._forwards.relative(judged))
        self._forwards.add(judged, seconds)

    @property
    def slowdown(self) -> float:
        """What share longer a forward of the target takes if the draft model runs beside it."""
        return self._slowdown.value

    def decide(self, now: Situation) -> Decision:
        """What to do."""
        if not self._forwards or not self.drafting:
            return Decision(min(len(now.confidences), MOST), 0)
        chances, right, unseen = self.prospect(now)
        timings = Timings(self._forwards.seconds(), self.drafting, self.waiting)
        judged, awaited, saved = best_start(chances, unseen, now.arrival, timings)
        seconds = timings.forwards[judged]
        # It begins no token in the last (1 - P) · d before the news: docs/adaptive.md.
        saved += (1 - right) ** 2 * self.drafting / 2
        return Decision(judged, awaited, chances, right, unseen, seconds, saved)

    def doubts(self, decision: Decision) -> list[float]:
        """The chances that the first wrong token of a draft is its first, second, … that is judged,
        or the one after these."""
        doubts, right = [], 1.0
        for place in range(decision.judged + 1):
            known = place < len(decision.chances)
            chance = decision.chances[place] if known else decision.unseen
            doubts.append(right * (1 - chance))
            right *= chance
        return doubts

    def gains(self) -> Sequence[float]:
        """How many seconds it saves if the first, second, … token of a new draft is there at once.

        Nothing before forwards were measured.
        """
        if self._forwards and self.drafting and self._decided % _RENEWED == 0:
            timings = Timings(self._forwards.seconds(), self.drafting, self.waiting)
            later = min(self.accepted, SUREST)
            chances = [self.unseen(0.0, 0), *[later] * (MOST_PREPARED - 1)]
            self._gains = savings(chances, later, timings)
        self._decided += 1
        return self._gains

    def gained(self, prepared: int) -> float:
        """How many seconds it saved, at least, that so many tokens of a new draft were there at
        once: what they cost is taken off."""
        return LEFT * sum(self._gains[:prepared])
