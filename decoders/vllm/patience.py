"""For which drafted tokens a step of vLLM waits, and how many of each text it judges.

The rule is that of ``pearl_adaptive``, for several texts that are judged in one step: see
docs/adaptive.md. A step of an engine takes about as long whether it judges eight drafted tokens or
none, so after a disagreement, when none is at hand, it may pay to wait for some. It does not where
the draft model is slow or seldom right, and less where steps are short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from decoders.adaptive.drafts import LearnedDrafts, Situation
from decoders.adaptive.line import Line
from decoders.adaptive.stopping import RunEnds, Timings, best_wait, expected_ends

#: Steps that must have been measured before any waiting.
_FIRST_STEPS = 4
#: A step is taken to last so much longer for each token that it reads, before that was measured,
#: and how much that counts: as much as steps that differ by so many tokens, squared.
_SLOPE, _WEIGHT = 0.01, 1.0
#: So many texts are weighed, at most, to choose how long to wait: it takes some 20 µs each.
_WEIGHED = 16


class Patience(NamedTuple):
    """Judge so many tokens of each text, or wait for ``awaited`` draft forwards first.

    ``judged`` is all that matters where it is waited. ``chances`` are those of each text's tokens
    at hand, of as many as matter; none where nothing was measured yet.
    """

    judged: Sequence[int]
    awaited: int
    chances: Sequence[Sequence[float]]


class StepPolicy(LearnedDrafts):
    """Decides when a step of several texts begins and what it judges of each.

    Parameters
    ----------
    most
        Drafted tokens that a step judges of a text at most.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._steps = Line(_SLOPE, _WEIGHT)
        self._measured = 0

    def stepped(self, seconds: float, texts: int, judged: int) -> None:
        """A step of so many texts that judged so many tokens in all took so long, unwaited."""
        # It reads a token of each text beside those.
        self._steps.add(texts + judged, seconds)
        self._measured += 1

    def step(self, texts: int, judged: int) -> float:
        """Seconds of a step of so many texts that judges so many tokens of each; 0 before any."""
        if not self._steps:
            return 0.0
        read = texts * (1 + judged)
        # A line through few points may be anything far away from them.
        return max(self._steps.at(read), self._steps.at(texts), 0.0)

    def decide(self, texts: Sequence[Situation]) -> Patience:
        """What to do for texts that the draft model goes on with."""
        if self._measured < _FIRST_STEPS or not self.drafting or not texts:
            at_hand = [min(len(one.confidences), self._most) for one in texts]
            return Patience(at_hand, 0, [()] * len(texts))
        prospects = [self.prospect(one) for one in texts]
        chances = [one.chances for one in prospects]
        # Of several texts each is judged as though the others did what it does: so all of them wait
        # for each token that one has judged, as they do.
        forwards = [self.step(len(texts), judged) for judged in range(self._most + 1)]
        timings = Timings(forwards, self.drafting, self.waiting)

        def ends(index: int) -> RunEnds:
            one = prospects[index]
            return expected_ends(one.chances, one.unseen, texts[index].arrival, timings)

        apart = -(-len(texts) // _WEIGHED)
        weighed = {index: ends(index) for index in range(0, len(texts), apart)}
        awaited = best_wait(list(weighed.values()), self.waiting)
        if awaited:
            return Patience([min(len(one), self._most) for one in chances], awaited, chances)
        judged = [(weighed.get(index) or ends(index)).judged for index in range(len(texts))]
        return Patience(judged, 0, chances)
