"""A draft process whose forwards over many continuations can be timed, beside what it is asked."""

from __future__ import annotations

from collections.abc import Callable

from decoders.model.cached_model import CachedModel
from decoders.model.tree import Tree
from decoders.process.channel import Message
from decoders.process.clock import clock
from decoders.process.drafter import Drafter, DrafterService
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Draft, Sampler

#: A message to the draft process: draft ``count`` tokens more of each of ``width`` continuations of
#: the first ``keep`` tokens it has (keep, width, count). The answer is as to ``drafter.REQUEST``.
_WIDEN = "widen"


class WideDrafterService(DrafterService):
    """The draft process's side."""

    def answer(self, message: Message) -> Message | None:
        name, *values = message
        return self.widen(*values) if name == _WIDEN else super().answer(message)

    def widen(self, keep: int, width: int, count: int) -> Message:
        """Draft continuations of the text, each forward a token of each."""
        start = clock()
        self._model.rollback(keep)
        tree = Tree()
        # How long it takes does not depend on which tokens they begin with.
        nodes = [tree.add(token) for token in range(width)]
        drafted = Draft()
        for step in range(count):
            rows = self._model.grow_tree(keep, tree, nodes)
            for place, node in enumerate(nodes):
                chosen = self._proposer.propose(rows[place : place + 1], keep + 1 + step)
                drafted.append(*chosen)
                if step + 1 < count:
                    nodes[place] = tree.add(drafted.tokens[-1], node)
        return self._said(drafted, start)


class WideDrafter(Drafter):
    """The main process's side."""

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: WorkerOptions
    ) -> None:
        super().__init__(load, sampler, options, WideDrafterService)

    def widen(self, keep: int, width: int, count: int) -> None:
        """Ask for ``count`` tokens of each of ``width`` continuations of the first ``keep`` tokens
        it has, as a draft process makes them that prepares for several outcomes: side by side, in
        ``count`` forwards. ``collect`` waits for them."""
        self.send((_WIDEN, keep, width, count))
