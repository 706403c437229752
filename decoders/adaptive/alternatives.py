"""For which other tokens than its own a draft process drafts: what that gains, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from decoders.adaptive.forward_costs import ForwardCosts
from decoders.adaptive.outlook import Outlook

#: So many other tokens are drafted for in one forward, at most.
MOST_OTHERS = 16
#: How likely the target's token is the draft model's likeliest other one, its second likeliest, …
#: where its own is wrong: as long as nothing was seen.
_RANKS = (0.3, 0.13, 0.07, 0.05)
#: How many of these there are.
RANKS = len(_RANKS)
#: How much of such a chance each outcome makes.
_TAKEN = 0.05

#: Alternatives that are less likely than this are not thought of.
_LEAST = 0.01
#: What a second that a forward takes longer is taken to cost. In simulation it makes no difference
#: to the average of pairs whether it is 1 or 2; but where drafts are nearly always right, little is
#: gained at best, and errors of what is expected would decide.
_PRICE = 2.0
#: So much of what it saves that a token at hand was drafted for is left once that is paid, or more:
#: else it is not drafted for.
LEFT = 1 - 1 / _PRICE


class Alternative(NamedTuple):
    """The draft model's likeliest other token (``rank`` 0) or a later one at a place of its draft,
    and the ``chance`` that it is the target's while all before that place is right."""

    place: int
    rank: int
    chance: float


class Alternatives:
    """Weighs what it is worth to have a draft ready for other tokens, beside the draft model's own.

    Whatever is drafted for them is drafted in the forwards that the draft is made in, which become
    wider. So it costs what they take longer: the draft comes later by that if it is all right, and
    the next one if it is not and what came was not foreseen.
    """

    def __init__(self) -> None:
        self._ranks = list(_RANKS)
        self._forwards = ForwardCosts(MOST_OTHERS)

    def ran(self, others: int, seconds: float) -> None:
        """A draft forward that drafted for so many others, beside the draft, took so long."""
        self._forwards.add(others, seconds)

    def came(self, rank: int | None) -> None:
        """A drafted token was wrong: the target's was the other one of this rank, or of none."""
        for index, chance in enumerate(self._ranks):
            self._ranks[index] += _TAKEN * ((index == rank) - chance)

    def of(self, doubts: Sequence[float]) -> Iterator[Alternative]:
        """What may come instead of a draft's tokens.

        ``doubts``: the chances that the first wrong token of a draft is its first, second, …
        """
        for place, doubt in enumerate(doubts):
            for rank, chance in enumerate(self._ranks):
                if doubt * chance >= _LEAST:
                    yield Alternative(place, rank, doubt * chance)

    def best(self, worths: Sequence[float], right: float, left: float) -> tuple[int, float]:
        """For how many others the next forward drafts a token, and how many seconds that saves.

        Parameters
        ----------
        worths
            How many seconds a token of each is expected to save, in falling order.
        right
            The chance that the draft itself is right up to the token that comes next.
        left
            Seconds until it is known what came.
        """
        if not self._forwards:
            return 0, 0.0
        seconds = self._forwards.seconds()
        best = saved = 0.0
        number = 0
        for others, worth in enumerate(worths[:MOST_OTHERS], 1):
            saved += worth
            longer = seconds[others] - seconds[0]
            late = max(0.0, min(longer, seconds[others] - left))
            gain = saved - _PRICE * (right * longer + (1 - right) * late)
            if gain > best:
                best, number = gain, others
        return number, best

    def seconds(self, others: int) -> float:
        """Of a forward that drafts for so many others, beside the draft."""
        return self._forwards.seconds()[others]


class SideDrafts:
    """For which alternatives to a draft how many tokens are drafted, while the draft is judged.

    Parameters
    ----------
    alternatives
        What weighs it.
    doubts
        The chances that the first wrong token of the draft is its first, second, …
    gains
        How many seconds it saves if the first, second, … token after an alternative is there when
        it is known that it came. There is no more than one for each.
    room
        How many tokens may be drafted after one at the draft's first place; one less at each
        further place.
    """

    def __init__(
        self,
        alternatives: Alternatives,
        doubts: Sequence[float],
        gains: Sequence[float],
        room: int,
    ) -> None:
        self._alternatives, self._gains, self._room = alternatives, gains, room
        self._possible = list(alternatives.of(doubts))
        #: How many tokens there are after each, of those that were chosen.
        self._lengths: dict[Alternative, int] = {}

    @property
    def begun(self) -> bool:
        """Whether anything was drafted."""
        return bool(self._lengths)

    def choose(self, drafted: int, right: float, left: float) -> tuple[list[Alternative], float]:
        """What the next forward drafts for beside the draft, of which ``drafted`` tokens are there,
        and how many seconds that saves; ``right`` and ``left``: see ``Alternatives.best``."""
        worths = sorted(self._worths(drafted), reverse=True)
        number, saved = self._alternatives.best([worth for worth, _ in worths], right, left)
        return [one for _, one in worths[:number]], saved

    def expected(
        self, outlook: Outlook, now: float, length: int, drafted: int
    ) -> tuple[list[Alternative], float]:
        """What ``choose`` gives by what a draft process expects: its text has ``length`` tokens."""
        return self.choose(drafted, outlook.right(length), outlook.left(now))

    def beats_rest(self, outlook: Outlook, now: float, length: int, drafted: int) -> bool:
        """Whether what it drafts for in its next forward saves more than a rest would instead."""
        chosen, saved = self.expected(outlook, now, length, drafted)
        if not chosen:
            return False
        seconds = self._alternatives.seconds(len(chosen))
        return saved > outlook.would_lose(seconds, now, length)

    def _worths(self, drafted: int) -> Iterator[tuple[float, Alternative]]:
        for one in self._possible:
            length = self._lengths.get(one, 0)
            most = min(len(self._gains), self._room - one.place)
            if one.place < drafted and length < most and self._gains[length] > 0:
                yield one.chance * self._gains[length], one

    def lengthened(self, alternatives: Iterable[Alternative]) -> None:
        """One token more was drafted after each of these."""
        for one in alternatives:
            self._lengths[one] = self._lengths.get(one, 0) + 1

    def drop(self, alternative: Alternative) -> None:
        """There is no such token."""
        self._possible.remove(alternative)

    def length(self, alternative: Alternative) -> int:
        """How many tokens were drafted after it."""
        return self._lengths.get(alternative, 0)

    def chosen_at(self, place: int) -> dict[int, Alternative]:
        """Those at a place that tokens were drafted after, by rank."""
        return {one.rank: one for one in self._lengths if one.place == place}

    def came(self, rank: int | None) -> None:
        """See ``Alternatives.came``; to be told where any at that place was chosen."""
        self._alternatives.came(rank)
