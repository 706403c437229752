"""A draft process that drafts when asked, and no more than it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
class Request:
    """The text is your first ``keep`` tokens, then ``tail``: draft ``count`` tokens more.

    The first ``verified`` tokens of it are final.
    """

    keep: int
    tail: list[int]
    count: int
    verified: int


@dataclass(slots=True)
class Begin:
    """A new prompt, of ``start`` tokens."""

    seed: int
    start: int


@dataclass(slots=True)
class Row:
    """Send the distribution that the token at a text position was drawn from."""

    position: int


class OnRequest(Protocol):
    """What drafts on request, by one process or by several that take turns."""

    @property
    def bytes_sent(self) -> int:
        """Bytes that have crossed between main and draft processes, both directions."""

    def wait_ready(self) -> None:
        """Wait until it can be asked."""

    def begin(self, seed: int, start: int) -> None:
        """Begin a prompt of ``start`` tokens, whose random numbers come from ``seed``."""

    def request(self, keep: int, tail: Sequence[int], count: int, verified: int = 0) -> None:
        """Ask for ``count`` tokens after the first ``keep`` tokens it has and then ``tail``.

        It may forget what the first ``verified`` tokens of that text were drawn from.
        """

    def collect(self) -> Proposal:
        """Wait for what was requested."""

    def row(self, position: int) -> torch.Tensor:
        """The distribution, ``[vocab]``, that the token at a text position was drawn from."""

    def peak_memory_bytes(self) -> int:
        """Peak resident memory of its processes, in bytes; 0 where it can't be read."""

    def close(self) -> None:
        """End its processes."""


def _never() -> bool:
    return False


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
            case Request():
                return self.draft(message)
            case Row():
                # As an array: a tensor would be pickled with far more around it.
                return self._proposer.row(message.position).cpu().numpy()
            case Begin():
                self._proposer = self._sampler.proposer(message.seed, message.start)
        return None

    def draft(self, request: Request, cut: Callable[[], bool] = _never) -> Proposal:
        """Draft what is requested, or as much of it as there is time for until ``cut``."""
        start = clock()
        self._proposer.forget(request.verified)
        text = self._text
        text[request.keep :] = request.tail
        # A forward needs at least one token to read.
        self._model.rollback(min(request.keep, len(text) - 1))
        drafted = Draft()
        while len(drafted) < request.count and not cut():
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
        self.send(Begin(seed, start))

    def request(self, keep: int, tail: Sequence[int], count: int, verified: int = 0) -> None:
        self.send(Request(keep, list(tail), count, verified))

    def collect(self) -> Proposal:
        proposal = self.receive()
        assert isinstance(proposal, Proposal)
        return proposal

    def row(self, position: int) -> torch.Tensor:
        self.send(Row(position))
        return torch.from_numpy(self.receive())
