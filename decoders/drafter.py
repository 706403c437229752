"""A draft process that drafts when asked, and no more than it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from decoders.channel import Channel
from decoders.draft_process import DraftProcess, DraftProcessOptions
from decoders.model import CachedModel
from decoders.sampler import Draft, Sampler
from decoders.stopwatch import clock


@dataclass(slots=True)
class Proposal:
    """Drafted tokens and the seconds they took."""

    draft: Draft
    seconds: float


@dataclass(slots=True)
class _Request:
    """The text is your first ``keep`` tokens, then ``tail``: draft ``count`` tokens more.

    The first ``verified`` tokens of it are final.
    """

    keep: int
    tail: list[int]
    count: int
    verified: int


@dataclass(slots=True)
class _Begin:
    """A new prompt, of ``start`` tokens."""

    seed: int
    start: int


@dataclass(slots=True)
class _Row:
    """Send the distribution that the token at a text position was drawn from."""

    position: int


class Service:
    """What the draft process does: answers each message, one after the other."""

    def __init__(self, model: CachedModel, sampler: Sampler) -> None:
        self._model = model
        self._sampler = sampler
        self._text: list[int] = []
        self._proposer = sampler.proposer(0, 0)

    def answer(self, message: Any) -> Any | None:
        """The answer to a message, if it has one."""
        match message:
            case _Request():
                return self._draft(message)
            case _Row():
                # As an array: a tensor would be pickled with far more around it.
                return self._proposer.row(message.position).cpu().numpy()
            case _Begin():
                self._proposer = self._sampler.proposer(message.seed, message.start)
        return None

    def _draft(self, request: _Request) -> Proposal:
        start = clock()
        self._proposer.forget(request.verified)
        text = self._text
        text[request.keep :] = request.tail
        # A forward needs at least one token to read.
        self._model.rollback(min(request.keep, len(text) - 1))
        drafted = Draft()
        for _ in range(request.count):
            drafted.append(*self._proposer.propose(self._model.extend(text, rows=1), len(text)))
            text.append(drafted.tokens[-1])
        return Proposal(drafted, clock() - start)


def _serve(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    service = Service(model, sampler)
    while True:
        answer = service.answer(channel.receive())
        if answer is not None:
            channel.send(answer)


class Drafter(DraftProcess):
    """Drafts a given number of tokens on request.

    ``request`` and ``collect`` are separate so that the target can work in between.
    """

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: DraftProcessOptions
    ) -> None:
        super().__init__(load, sampler, options, _serve)

    def begin(self, seed: int, start: int) -> None:
        """Begin a prompt of ``start`` tokens, whose random numbers come from ``seed``."""
        self.send(_Begin(seed, start))

    def request(self, keep: int, tail: Sequence[int], count: int, verified: int = 0) -> None:
        """Ask for ``count`` tokens after the first ``keep`` tokens it has and then ``tail``.

        It may forget what the first ``verified`` tokens of that text were drawn from.
        """
        self.send(_Request(keep, list(tail), count, verified))

    def collect(self) -> Proposal:
        """Wait for what was requested."""
        proposal = self.receive()
        assert isinstance(proposal, Proposal)
        return proposal

    def row(self, position: int) -> torch.Tensor:
        """The distribution, ``[vocab]``, that the token at a text position was drawn from."""
        self.send(_Row(position))
        return torch.from_numpy(self.receive())
