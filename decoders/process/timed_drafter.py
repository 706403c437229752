"""A draft process whose forwards of other kinds can be timed, too, beside those it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from decoders.model.cached_model import CachedModel
from decoders.model.tree import Tree
from decoders.process.branches import Branch, lengthen
from decoders.process.channel import Message
from decoders.process.clock import clock
from decoders.process.drafter import Drafter, DrafterService
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Draft, Sampler

# Messages to the draft process, of which each has the answer of ``drafter.REQUEST``:
#: draft ``count`` tokens more of each of ``width`` continuations of the first ``keep`` tokens that
#: it has (keep, width, count)
_WIDEN = "widen"
#: ``count`` times, read ``guess`` after the first ``keep`` tokens that it has, and choose a token
#: after each of its last ``given`` (keep, guess, given, count)
_READ = "read"


class TimedDrafterService(DrafterService):
    """The draft process's side."""

    def answer(self, message: Message) -> Message | None:
        name, *values = message
        if name == _WIDEN:
            return self.widen(*values)
        if name == _READ:
            return self.read(*values)
        return super().answer(message)

    def widen(self, keep: int, width: int, count: int) -> Message:
        """Draft continuations of the text, each forward a token of each."""
        start = clock()
        self._model.rollback(keep)
        tree = Tree()
        # How long it takes does not depend on which tokens they begin with.
        branches = [
            Branch(0, token, count, self._proposer, tree.add(token)) for token in range(width)
        ]
        for _ in range(count):
            lengthen(branches, self._model, keep, tree)
        drafted = Draft()
        for one in branches:
            drafted += one.draft
        return self._said(drafted, start)

    def read(self, keep: int, guess: list[int], given: int, count: int) -> Message:
        """Read a guess, again and again, and choose tokens after it."""
        start = clock()
        text = self._text[:keep] + guess
        drafted = Draft()
        for _ in range(count):
            self._model.rollback(keep)
            rows = self._model.extend(text, rows=len(guess))
            for place in range(given):
                row = rows[place : place + 1]
                drafted.append(*self._proposer.propose(row, keep + 1 + place))
        return self._said(drafted, start)


class TimedDrafter(Drafter):
    """The main process's side."""

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: WorkerOptions
    ) -> None:
        super().__init__(load, sampler, options, TimedDrafterService)

    def widen(self, keep: int, width: int, count: int) -> None:
        """Ask for ``count`` tokens of each of ``width`` continuations of the first ``keep`` tokens
        it has, as a draft process makes them that prepares for several outcomes: side by side, in
        ``count`` forwards. ``collect`` waits for them."""
        self.send((_WIDEN, keep, width, count))

    def read(self, keep: int, guess: list[int], given: int, count: int) -> None:
        """Ask for ``count`` forwards over ``guess`` after the first ``keep`` tokens it has, each
        with a choice of ``given`` tokens, as a draft process makes them that reads what was looked
        up. ``collect`` waits for these tokens."""
        self.send((_READ, keep, guess, given, count))
