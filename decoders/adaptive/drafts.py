"""What is learned of a draft model as a run goes, and what its tokens at hand are worth by that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from decoders.adaptive.average import Average
from decoders.adaptive.calibration import Calibration, doubt, place_kind
from decoders.adaptive.stopping import UNLIKELY

#: How much of the share of right tokens each of them makes.
_ACCEPTED = 0.02
#: When the next drafted token comes, where none will.
NEVER = math.inf


class Latest(Protocol):
    """A drafted token: when it was there, and the draft model's probability for it."""

    @property
    def ended(self) -> float: ...
    @property
    def confidence(self) -> float: ...


class Situation(NamedTuple):
    """What there is of a text when the target is free.

    ``confidences`` are those of the tokens at hand, the first of which is at ``place`` in its
    draft; ``before`` is that of the draft's token before the next one to come, ``None`` where a
    draft begins anew. ``arrival`` is in how many seconds that one is expected.
    """

    confidences: Sequence[float]
    place: int
    before: float | None
    arrival: float


class Prospect(NamedTuple):
    """What tokens at hand are worth.

    ``chances`` are theirs, of as many as matter, and ``right`` that all of these are right;
    ``unseen`` is the chance of the next one to come.
    """

    chances: Sequence[float]
    right: float
    unseen: float


class LearnedDrafts:
    """How likely drafted tokens are right, and how long they take: learned as a run goes."""

    def __init__(self) -> None:
        self._calibration = Calibration()
        self._beside, self._alone = Average(), Average()
        #: Which share of the tokens that are judged is right.
        self.accepted = 0.75

    def drafted(self, seconds: float, beside: bool) -> None:
        """A draft forward took so long, ``beside`` one of the target or while that waited."""
        (self._beside if beside else self._alone).add(seconds)

    def verified(
        self, confidences: Sequence[float], place: int, before: float | None, agreed: int
    ) -> None:
        """Tokens of a draft were judged, the first of them at ``place``; ``agreed`` are right.

        ``before`` is the confidence of the one before them in the draft, ``None`` where none is.
        """
        last = None if before is None else doubt(before)
        for index, confidence in enumerate(confidences):
            self.accepted += _ACCEPTED * ((index < agreed) - self.accepted)
            kind = doubt(confidence)
            self._calibration.learn(kind, last, place_kind(place + index), index < agreed)
            last = kind

    @property
    def drafting(self) -> float:
        """Seconds of a draft forward beside the target's; 0 before any draft forward."""
        return self._beside.value or self._alone.value

    @property
    def waiting(self) -> float:
        """Seconds of a draft forward while the target waits; 0 before any draft forward."""
        return self._alone.value or self._beside.value

    def chance(self, confidence: float, place: int) -> float:
        """That a drafted token is right if those before it in its draft are."""
        return self._calibration.drafted.chance(doubt(confidence), place_kind(place))

    def unseen(self, before: float | None, place: int) -> float:
        """The same of one that is yet to be drafted; ``before``: see ``Situation``."""
        known = self._calibration
        kind = known.NOTHING if before is None else doubt(before)
        return known.unseen.chance(kind, place_kind(place))

    def prospect(self, now: Situation) -> Prospect:
        """What the tokens at hand are worth."""
        chances, right = list[float](), 1.0
        for place, confidence in enumerate(now.confidences, now.place):
            chances.append(self.chance(confidence, place))
            right *= chances[-1]
            if right < UNLIKELY:
                break
        next_place = 0 if now.before is None else now.place + len(now.confidences)
        return Prospect(chances, right, self.unseen(now.before, next_place))

    def situation(
        self,
        confidences: Sequence[float],
        place: int,
        latest: Latest | None,
        stale: bool,
        room: int,
        told: float,
        now: float,
        anew: bool | None = None,
    ) -> Situation:
        """What there is at a time.

        Parameters
        ----------
        confidences, place
            See ``Situation``.
        latest
            The token of this text that was drafted last, ``None`` before any.
        stale
            Whether the draft it belongs to went elsewhere.
        room
            How many tokens there may be at hand at most.
        told
            When the draft process was last told what was verified.
        now
            The time.
        anew
            Whether the next token is the first that is drafted since a draft went elsewhere; so if
            ``stale``, and if what there is had been prepared.
        """
        anew = stale if anew is None else anew
        before = None if latest is None or stale else latest.confidence
        arrival = NEVER
        if latest is not None and len(confidences) < room:
            arrival = self.arrival(latest.ended, told, anew, now)
        return Situation(confidences, place, before, arrival)

    def arrival(self, ended: float, told: float, anew: bool, now: float) -> float:
        """In how many seconds the next drafted token is expected.

        Parameters
        ----------
        ended
            When the last one was there.
        told
            When the draft process was last told what was verified.
        anew
            Whether it must begin anew for that.
        now
            The time.
        """
        begins, done = ended, ended + self.drafting
        if ended < told and (anew or done < told):
            # It heard of it once it was done with the token it was at, if it was at any.
            begins = max(done, told)
        return max(0.0, begins + self.waiting - now)
