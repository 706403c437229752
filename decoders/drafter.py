"""A draft process that drafts when asked, and no more than it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decoders.channel import Channel
from decoders.draft_process import DraftProcess, DraftProcessOptions
from decoders.model import CachedModel
from decoders.sampler import Sampler
from decoders.stopwatch import clock


@dataclass(slots=True)
class Proposal:
    """Drafted tokens and the seconds they took."""

    tokens: list[int]
    seconds: float


@dataclass(slots=True)
class _Request:
    """The text is your first ``keep`` tokens, then ``tail``: draft ``count`` tokens more."""

    keep: int
    tail: list[int]
    count: int


def _serve(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    text: list[int] = []
    while True:
        request: _Request = channel.receive()
        start = clock()
        text[request.keep :] = request.tail
        # A forward needs at least one token to read.
        model.rollback(min(request.keep, len(text) - 1))
        for _ in range(request.count):
            text.append(sampler.choose(model.extend(text, rows=1)))
        tokens = text[len(text) - request.count :]
        channel.send(Proposal(tokens, clock() - start))


class Drafter(DraftProcess):
    """Drafts a given number of tokens on request.

    ``request`` and ``collect`` are separate so that the target can work in between.
    """

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: DraftProcessOptions
    ) -> None:
        super().__init__(load, sampler, options, _serve)

    def request(self, keep: int, tail: Sequence[int], count: int) -> None:
        """Ask for ``count`` tokens after the first ``keep`` tokens it has and then ``tail``."""
        self.send(_Request(keep, list(tail), count))

    def collect(self) -> Proposal:
        """Wait for what was requested."""
        proposal = self.receive()
        assert isinstance(proposal, Proposal)
        return proposal
