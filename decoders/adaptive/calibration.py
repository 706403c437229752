"""How likely a drafted token is right: learned from what became of those before it.

A chance is worked out for each drafted token, between two forwards, when the processor's caches are
full of weights: so it has few terms.
"""

from __future__ import annotations

import math

#: Kinds of doubt: one for each time that it halves.
_HALVINGS = 8
#: Kinds of places: the first, the second, and then twice as many each.
_PLACES = 6
#: What is known before any token was seen: as much as so many tokens of chance ½ would say.
_PRIOR = 0.5
#: What remains of an observation after each later one of its kind; and of any kind.
_KEPT, _KEPT_OVERALL = 0.98, 0.93
#: A chance is not taken to be nearer to 0 or 1.
LEAST = 0.004
SUREST = 1 - LEAST
_STEEPEST = math.log(SUREST / LEAST)


def doubt(confidence: float) -> int:
    """Of which kind the doubt is that a draft model's probability for its own token leaves."""
    halvings = -math.frexp(1 - confidence)[1] if confidence < 1 else _HALVINGS
    return min(max(halvings, 0), _HALVINGS)


def place_kind(place: int) -> int:
    """Of which kind a place in a draft is, counted from 0."""
    return min(place.bit_length(), _PLACES - 1)


class Chances:
    """Chances by a doubt and a place: logistic regression, the recent tokens counting most.

    The log-odds have an addend for each kind of doubt, for each kind of place, and one for all.
    ``doubts``: those of doubts to begin with.
    """

    def __init__(self, doubts: list[float]) -> None:
        self._doubts, self._places, self._overall = doubts, [0.0] * _PLACES, 0.0
        #: How much was seen of each.
        self._seen_doubts, self._seen_places = [2.0] * len(doubts), [1.0] * _PLACES
        self._seen_overall = 0.5

    def chance(self, doubt: int, place: int) -> float:
        """That of a token that leaves this kind of doubt at this kind of place."""
        odds = self._doubts[doubt] + self._places[place] + self._overall
        return 1 / (1 + math.exp(-min(max(odds, -_STEEPEST), _STEEPEST)))

    def learn(self, doubt: int, place: int, right: bool) -> None:
        """What became of such a token: a step of Newton's method for each addend, of half the
        length, since several make it."""
        chance = self.chance(doubt, place)
        step, spread = 0.5 * (right - chance), max(chance * (1 - chance), 0.02)
        # All in one place: this runs for every token, between two forwards.
        seen = self._seen_doubts[doubt] = _KEPT * self._seen_doubts[doubt] + spread
        self._doubts[doubt] += step / max(seen, _PRIOR)
        seen = self._seen_places[place] = _KEPT * self._seen_places[place] + spread
        self._places[place] += step / max(seen, _PRIOR)
        seen = self._seen_overall = _KEPT_OVERALL * self._seen_overall + spread
        self._overall += step / max(seen, _PRIOR)


class Calibration:
    """Chances of drafted tokens, by the doubt of the draft model and the place in its draft.

    The place counts from where the draft began anew, after a disagreement: right after that a draft
    model is wrong more often, and where it has been right for long it goes on to be. All that is
    known of a token that is yet to be drafted is the doubt of the one before it, ``NOTHING`` for
    the first.
    """

    #: The doubt of no token.
    NOTHING = _HALVINGS + 1

    def __init__(self) -> None:
        # As often as the draft model says, in the middle of each kind; and three of four.
        said = [1 - 0.75 * 2.0**-kind for kind in range(_HALVINGS + 1)]
        self.drafted = Chances([math.log(one / (1 - one)) for one in said])
        self.unseen = Chances([math.log(3.0)] * (_HALVINGS + 2))

    def learn(self, kind: int, before: int | None, place: int, right: bool) -> None:
        """What became of a token of this kind of doubt, after one of another."""
        self.drafted.learn(kind, place, right)
        self.unseen.learn(self.NOTHING if before is None else before, place, right)
