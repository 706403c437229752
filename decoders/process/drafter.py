"""A draft process that drafts when asked, and no more than it is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from decoders.model.cached_model import CachedModel
from decoders.process.channel import Channel, Message
from decoders.process.clock import clock
from decoders.process.worker import PREPARE, PREPARED, Worker, WorkerOptions
from decoders.sampling.sampler import Draft, Sampler


@dataclass(slots=True)
class Proposal:
    """Drafted tokens and the seconds they took."""

    draft: Draft
    seconds: float


# Messages to the draft process, which knows the text by then:
#: the text is your first ``keep`` tokens, then ``tail``, and its first ``verified`` tokens are
#: final; draft ``count`` tokens more (keep, tail, count, verified)
REQUEST = "request"
#: a new prompt (seed, length in tokens)
BEGIN = "begin"
#: send the distribution that the token at a text position was drawn from (position)
ROW = "row"
# And its answers: drafted tokens (tokens, chances, seconds); a distribution (dtype, bytes).
PROPOSAL = "proposal"
DISTRIBUTION = "distribution"

#: How many tokens a draft forward reads: the last drafted one, and the target's own after it.
DRAFT_WINDOWS = (1, 2)

#: A probability of 1, as far as rounding lets it be one.
SURE = 1.001
#: By how much the chances of all tokens together may differ from 1, rounded as they are.
_ROUNDED = 0.01


class OnRequest(Protocol):
    """Anything that drafts on request: one process, or several that draft alternately."""

    @property
    def bytes_sent(self) -> int:
        """Bytes that have crossed between main and draft processes, both directions."""

    def wait_ready(self) -> None:
        """Wait until it can be asked."""

    def prepare(self, windows: Sequence[int], start: int, end: int) -> None:
        """Make the draft model ready for a text, see ``CachedModel.prepare``, and wait for it."""

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


class DrafterService:
    """The draft process's side: answers each message, one after the other."""

    def __init__(self, model: CachedModel, sampler: Sampler) -> None:
        self._model = model
        self._sampler = sampler
        self._text: list[int] = []
        self._proposer = sampler.proposer(0, 0)

    def answer(self, message: Message) -> Message | None:
        """The answer to a message, if it has one."""
        name, *values = message
        if name == REQUEST:
            return self.draft(*values)
        if name == ROW:
            row = self._proposer.row(*values).cpu().numpy()
            return DISTRIBUTION, row.dtype.name, row.tobytes()
        if name == BEGIN:
            self._proposer = self._sampler.proposer(*values)
        elif name == PREPARE:
            self._model.prepare(*values)
            return (PREPARED,)
        return None

    def draft(
        self,
        keep: int,
        tail: list[int],
        count: int,
        verified: int,
        cut: Callable[[], bool] = _never,
    ) -> Message:
        """Draft what is requested, or as much of it as there is time for until ``cut``."""
        start = clock()
        self._proposer.forget(verified)
        text = self._text
        text[keep:] = tail
        # A forward needs at least one token to read.
        self._model.rollback(min(keep, len(text) - 1))
        drafted = Draft()
        while len(drafted) < count and not cut():
            drafted.append(*self._proposer.propose(self._model.extend(text, rows=1), len(text)))
            text.append(drafted.tokens[-1])
        return self._said(drafted, start)

    def _said(self, drafted: Draft, start: float) -> Message:
        """The answer that so much was drafted, from a time of the clock on."""
        return PROPOSAL, drafted.tokens, drafted.chances, clock() - start


def _serve(
    channel: Channel,
    model: CachedModel,
    sampler: Sampler,
    make: Callable[[CachedModel, Sampler], DrafterService],
) -> None:
    service = make(model, sampler)
    while True:
        answer = service.answer(channel.receive())
        if answer is not None:
            channel.send(answer)


class Drafter(Worker):
    """The main process's side of a draft process that drafts as many tokens as it is asked for.

    ``request`` and ``collect`` are separate so that the target can work in between. ``service``
    makes what answers there.
    """

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: WorkerOptions,
        service: Callable[[CachedModel, Sampler], DrafterService] = DrafterService,
    ) -> None:
        super().__init__(load, sampler, options, partial(_serve, make=service))

    def begin(self, seed: int, start: int) -> None:
        self.send((BEGIN, seed, start))

    def request(self, keep: int, tail: Sequence[int], count: int, verified: int = 0) -> None:
        self.send((REQUEST, keep, list(tail), count, verified))

    def collect(self) -> Proposal:
        answer = self.receive()
        with self.understood():
            return proposal(answer, self.vocab_size)

    def row(self, position: int) -> torch.Tensor:
        self.send((ROW, position))
        answer = self.receive()
        with self.understood():
            return distribution(answer, self.vocab_size)


def proposal(answer: Message, vocab_size: int) -> Proposal:
    """What a draft process has drafted, from its answer. ValueError where it can't be that."""
    name, tokens, chances, seconds = answer
    if name != PROPOSAL:
        raise ValueError(f"expected drafted tokens ({PROPOSAL!r}), got {name!r}")
    check_tokens(tokens, vocab_size)
    if chances and (len(chances) != len(tokens) or not all(0 < one <= SURE for one in chances)):
        raise ValueError(
            f"expected a chance above 0 and at most 1 for each of {len(tokens)} drafted tokens, or"
            f" none, got {chances}"
        )
    check_seconds(seconds)
    return Proposal(Draft(tokens, chances), seconds)


def distribution(answer: Message, vocab_size: int) -> torch.Tensor:
    """The distribution, ``[vocab]``, in a draft process's answer; ValueError where it is none."""
    name, dtype, data = answer
    if name != DISTRIBUTION:
        raise ValueError(f"expected a distribution ({DISTRIBUTION!r}), got {name!r}")
    row = torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype))
    whole = float(row.sum(dtype=torch.float64))
    if len(row) != vocab_size:
        found = f"one over {len(row):,}"
    elif not bool((row >= 0).all()):
        found = f"one with the probability {float(row[~(row >= 0)][0]):g}"
    elif not abs(whole - 1) < _ROUNDED:
        found = f"one that sums to {whole:.4g}"
    else:
        return row
    raise ValueError(f"expected a probability distribution over {vocab_size:,} tokens, got {found}")


def check_seconds(*times: float) -> None:
    """ValueError where some are no times."""
    for one in times:
        if not isinstance(one, float | int) or not 0 <= one < math.inf:
            raise ValueError(f"expected a time in seconds, got {one!r}")


def check_confidence(confidence: float) -> None:
    """ValueError where it is no probability."""
    if not isinstance(confidence, float) or not 0 <= confidence <= SURE:
        raise ValueError(f"expected a probability, got {confidence!r}")


def check_tokens(tokens: Sequence[int], vocab_size: int) -> None:
    """ValueError where some are no tokens."""
    for token in tokens:
        if not isinstance(token, int) or not 0 <= token < vocab_size:
            raise ValueError(f"expected a token id from 0 to {vocab_size - 1}, got {token!r}")
