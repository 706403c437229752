"""What a draft process is told of the target's forward, to know when it had better not draft on."""

from __future__ import annotations

import math
from typing import NamedTuple

from decoders.adaptive.average import Average


class _News(NamedTuple):
    """What is expected: see ``Outlook.expect``."""

    at: float
    right: float
    unseen: float
    until: int
    slowdown: float


class Outlook:
    """Weighs one token more against what it costs: a later new draft, a slower target."""

    def __init__(self) -> None:
        self._seconds = Average()
        #: Of the first forward of a draft that begins anew: after a rest, and else.
        self._rested, self._unrested = Average(), Average()
        self._rests = False
        self._news: _News | None = None

    @property
    def seconds(self) -> float:
        """What a draft forward takes; 0 before any."""
        return self._seconds.value

    def forget(self) -> None:
        """There was news."""
        self._news = None

    def expect(self, at: float, right: float, unseen: float, until: int, slowdown: float) -> None:
        """News is expected at a time of the clock.

        Parameters
        ----------
        at
            When.
        right
            The chance that the draft is right up to position ``until`` of the text.
        unseen
            That of each further token, if those before it are right.
        until
            See ``right``.
        slowdown
            What share longer the target's forward takes if the draft model runs beside it.
        """
        self._news = _News(at, right, unseen, until, slowdown)

    def left(self, now: float) -> float:
        """Seconds until news is expected, 0 where it is late; infinite where none is."""
        return math.inf if self._news is None else max(0.0, self._news.at - now)

    def right(self, length: int) -> float:
        """The chance that the draft is right up to a position of the text; 1 where no news is
        expected."""
        if self._news is None:
            return 1.0
        return self._news.right * self._news.unseen ** (length - self._news.until)

    def would_lose(self, seconds: float, now: float, length: int) -> float:
        """Seconds that a forward of so many would cost, if it saved none, in place of a rest."""
        assert self._news is not None
        left, right = self.left(now), self.right(length)
        late = max(0.0, seconds - left)
        return (1 - right) * late + max(0.0, self._news.slowdown - right) * min(seconds, left)

    def drafted(self, seconds: float, anew: bool) -> None:
        """A draft forward took so long; ``anew``: the first of a draft that began anew."""
        self._seconds.add(seconds)
        if anew:
            (self._rested if self._rests else self._unrested).add(seconds)
        self._rests = False

    def better_waits(self, now: float, length: int) -> float:
        """Seconds to wait for news rather than draft on; 0 where there is nothing to wait for.

        ``length`` is the draft's end in the text. A token that is begun ``early`` before the news
        ends the rest of a forward after it. If the draft is all right, it is there ``early`` sooner
        than if it had been begun with the news. If not, the next draft begins that rest later. And
        all the time that the draft model runs the target is slower, by so much that it may rest:
        which makes its next forward a little slower, as its weights leave the caches meanwhile.
        """
        if self._news is None:
            return 0.0
        early, limit = self._news.at - now, self._seconds.value
        right = self.right(length)
        if early >= limit:
            chill = max(0.0, self._rested.value - (self._unrested.value or limit))
            self._rests = (self._news.slowdown - right) * early > chill
            return early + limit if self._rests else 0.0
        # What is late by as much is taken to be late for long.
        limit *= 1 - right
        return early + limit if -limit < early < limit else 0.0
