"""Runs of tokens in texts, counted: what followed the end of a text where it was seen before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


class CountedRun:
    """A run of tokens that occurs in some texts: how often, and what followed it.

    ``children`` are the runs that are a token longer. They are counted from the second occurrence
    on: until then it is enough to know where the first one ended, at ``position`` of ``text``.
    """

    __slots__ = ("children", "count", "followed", "position", "text", "usual")

    def __init__(self, text: Sequence[int], position: int) -> None:
        self.count = 1
        self.text = text
        self.position = position
        self.children: dict[int, CountedRun] | None = None
        #: How often it was followed by a token: not where a text ended.
        self.followed = 0
        #: The token that followed it most often; of several that which came to be so last.
        self.usual: int | None = None

    def expand(self) -> None:
        """From now on count what follows."""
        self.children = {}
        if self.position < len(self.text):
            self.follow(self.text[self.position], self.text, self.position + 1)

    def follow(self, token: int, text: Sequence[int], position: int) -> CountedRun | None:
        """It was followed by ``token``, which ends at ``position`` of ``text``.

        Gives the longer run, if that was there before.
        """
        assert self.children is not None
        known = self.children.get(token)
        if known is None:
            child = self.children[token] = CountedRun(text, position)
        else:
            child = known
            child.count += 1
        self.followed += 1
        if self.usual is None or child.count >= self.children[self.usual].count:
            self.usual = token
        return known


class SuffixTrie:
    """Every run of up to ``depth`` tokens in some texts, with how often it occurs.

    A text is read token by token, and may be asked at any time. A token takes as many steps as
    there are suffixes of the text, up to ``depth``, that were there before. So texts in which
    little repeats take little more than a step a token.

    Parameters
    ----------
    depth
        Tokens of the longest run, at least 1. Of a run as long as that only its first continuation
        is known.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._root = CountedRun((), 0)
        self._root.expand()
        self.begin()

    def begin(self) -> None:
        """Start on another text: no run goes on from the one before."""
        self._text: list[int] = []
        #: The suffixes of the text that had been there before, from a token's length on.
        self.matches: list[CountedRun] = []

    def read(self, tokens: Iterable[int]) -> None:
        """Tokens that the text goes on with."""
        for token in tokens:
            self._text.append(token)
            end = len(self._text)
            found = []
            for run in (self._root, *self.matches[: self._depth - 1]):
                longer = run.follow(token, self._text, end)
                if longer is not None:
                    found.append(longer)
                    if longer.children is None and len(found) < self._depth:
                        longer.expand()
            self.matches = found

    def longer(self, matches: Sequence[CountedRun], token: int) -> list[CountedRun]:
        """The suffixes that are here of a text, once a token was added to it.

        ``matches`` are those before. The text need not be one of those that were read.
        """
        found: list[CountedRun] = []
        for run in (self._root, *matches[: self._depth - 1]):
            if run.children is None:
                run_on = run.position < len(run.text)
                if not run_on:
                    break
                run.expand()
                assert run.children is not None
            child = run.children.get(token)
            if child is None:
                break
            found.append(child)
        return found

    def count(self, run: Sequence[int]) -> int:
        """How often a run of tokens, up to ``depth`` of them, was read."""
        node = self._root
        for place, token in enumerate(run):
            if node.children is None:
                rest = [token, *run[place + 1 :]]
                end = node.position + len(rest)
                return int(list(node.text[node.position : end]) == rest)
            child = node.children.get(token)
            if child is None:
                return 0
            node = child
        return node.count


@dataclass(frozen=True)
class Continuation:
    """Tokens that may follow a text. ``score`` is how many of them are expected to be right."""

    tokens: list[int] = field(default_factory=list)
    score: float = 0.0


def most_likely(run: CountedRun, most: int, least: float) -> Continuation:
    """What followed a run most often, and what that, as long as its share is ``least`` or more.

    The share of a token is that of its run among those that are as long, times that of the tokens
    before it. ``most`` is the greatest number of tokens.
    """
    tokens: list[int] = []
    share, score = 1.0, 0.0
    node: CountedRun | None = run
    while node is not None and len(tokens) < most:
        if node.children is None:
            # It was there once, or is as long as is counted: so as its text went on.
            rest = node.text[node.position : node.position + most - len(tokens)]
            tokens += rest
            score += share * len(rest)
            break
        if node.usual is None:
            break
        child = node.children[node.usual]
        share *= child.count / node.followed
        if share < least:
            break
        tokens.append(node.usual)
        score += share
        node = child
    return Continuation(tokens, score)
