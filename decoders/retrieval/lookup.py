"""What may follow a text, looked up where its end was seen before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from decoders.retrieval.suffix_trie import Continuation, CountedRun, SuffixTrie, most_likely

#: A product that is a whole number but for rounding is that number.
_ROUNDED = 1e-6


@dataclass(frozen=True)
class Reach:
    """How far a guess goes (suffix decoding: Oliaro et al., arXiv 2411.04975).

    Parameters
    ----------
    depth
        Tokens of the longest run that is counted; at least 2: one to match, one to follow.
    factor
        α: a guess has at most so many tokens for each token of the suffix that it follows.
    least
        The least share that a guessed token may have of what was seen in its place.
    """

    depth: int = 24
    factor: float = 1.0
    least: float = 0.1

    def check(self) -> None:
        """ValueError for numbers that can't be."""
        if self.depth < 2:
            raise ValueError(
                "decoder.depth is the longest run of tokens that is counted and must be at least 2,"
                f" got {self.depth}"
            )
        if not self.factor > 0:
            raise ValueError(
                "decoder.factor is how many tokens are guessed for each that matched and must be"
                f" above 0, got {self.factor:g}"
            )
        if not 0 <= self.least <= 1:
            raise ValueError(
                "decoder.least is the least share of a guessed token and must be from 0 to 1, got"
                f" {self.least:g}"
            )

    def guess(self, matches: Sequence[CountedRun], most: int) -> Continuation:
        """The best of what followed each of some suffixes, the shortest first.

        That of the longest of those whose guesses are as good. ``most`` is the greatest number of
        tokens.
        """
        best = Continuation()
        for length, run in enumerate(matches, start=1):
            own = most_likely(run, min(most, int(self.factor * length + _ROUNDED)), self.least)
            if own.score >= best.score:
                best = own
        return best


class Lookup:
    """Looks up what may follow a text, in the text itself and in others that were there before.

    Parameters
    ----------
    reach
        How far a guess goes.
    others
        The other texts, if there are any. They stay as they are.
    """

    def __init__(self, reach: Reach, others: SuffixTrie | None = None) -> None:
        self._reach = reach
        self._own = SuffixTrie(reach.depth)
        self._others = others or SuffixTrie(reach.depth)
        self._found: list[CountedRun] = []

    def read(self, tokens: Iterable[int]) -> None:
        """Tokens that the text begins or goes on with."""
        for token in tokens:
            self._own.read([token])
            self._found = self._others.longer(self._found, token)

    def guess(self, most: int, after: Iterable[int] = ()) -> list[int]:
        """At most ``most`` tokens that may follow the text, and then ``after``.

        Nothing is learned from ``after``: it need not stay. Where both know something to say, the
        text itself has it unless the others' is better.
        """
        own, found = self._own.matches, self._found
        for token in after:
            own = self._own.longer(own, token)
            found = self._others.longer(found, token)
        ours, theirs = self._reach.guess(own, most), self._reach.guess(found, most)
        return (theirs if theirs.score > ours.score else ours).tokens
