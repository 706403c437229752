"""What a draft process is told of the target's forward, to know when it had better not draft on."""

from __future__ import annotations

import math

from decoders.adaptive.average import Average

#: How much of a forward's time goes into the average.
_TAKEN = 0.1


class Outlook:
    """Weighs a token more against beginning anew at once, if it comes to that."""

    def __init__(self) -> None:
        self._seconds = Average(_TAKEN)
        self.forget()

    def forget(self) -> None:
        """There was news."""
        self._at = -math.inf
        self._right, self._unseen, self._until = 1.0, 1.0, 0

    def expect(self, at: float, right: float, unseen: float, until: int) -> None:
        """News is expected at a time of the clock.

        The draft is right up to position ``until`` of the text with the chance ``right``, and each
        further token, if those before it are, with ``unseen``.
        """
        self._at, self._right, self._unseen, self._until = at, right, unseen, until

    def drafted(self, seconds: float) -> None:
        """A draft forward took so long."""
        self._seconds.add(seconds)

    def better_waits(self, now: float, length: int) -> float:
        """Seconds to wait for news rather than draft on; 0 where there is nothing to wait for.

        A token that is begun ``early`` before the news ends the rest of a forward after it. If the
        draft of ``length`` tokens is all right, it is there ``early`` sooner than if it had been
        begun with the news. If not, the next draft begins that rest later.
        """
        early, limit = self._at - now, self._seconds.value
        # What is late by as much is taken to be late for long.
        if not -limit < early < limit:
            return 0.0
        limit *= 1 - self._right * self._unseen ** (length - self._until)
        return early + limit if -limit < early < limit else 0.0
