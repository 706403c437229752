"""Two copies of the draft model that draft alternately, each where the target does not compute."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress

import torch

from decoders.model.cached_model import CachedModel
from decoders.process.channel import Channel, ChannelClosed, Message
from decoders.process.drafter import (
    BEGIN,
    ROW,
    DrafterService,
    Proposal,
    distribution,
    proposal,
)
from decoders.process.models import End
from decoders.process.worker import PREPARE, PREPARED, Worker, WorkerOptions
from decoders.sampling.sampler import Sampler

# Messages to a copy, beside those to any drafter:
#: draft this; so many tokens were drawn for the prompt so far, by either copy; whether to wait for
#: what the other copy has drafted of it, and draft the rest (keep, tail, count, verified, drawn,
#: follows)
_LEG = "leg"
#: stop after the token you are at, and give the other copy what you have drafted
_HAND_OVER = "hand over"
#: And to the other copy: what was drafted (tokens).
_BATON = "baton"


class _Runner(DrafterService):
    """What each copy does. ``peer`` leads to the other one."""

    def __init__(
        self, model: CachedModel, sampler: Sampler, channel: Channel, peer: Channel
    ) -> None:
        super().__init__(model, sampler)
        self._channel = channel
        self._peer = peer
        self._drawn = 0

    def serve(self) -> None:
        """Answer messages until the channel is closed."""
        drafted: list[int] = []
        while True:
            message = self._channel.receive()
            name, *values = message
            if name == _HAND_OVER:
                self._pass_on(drafted)
            elif name == _LEG:
                drafted = self._run(*values)
            else:
                if name == BEGIN:
                    self._drawn = 0
                answer = self.answer(message)
                if answer is not None:
                    self._channel.send(answer)

    def _run(
        self, keep: int, tail: list[int], count: int, verified: int, drawn: int, follows: bool
    ) -> list[int]:
        """Draft, and send what was drafted; gives its tokens."""
        if follows:
            _, baton = self._peer.receive()
            tail += baton
            count -= len(baton)
            drawn += len(baton)
        # One stream of random numbers for both copies, so that what is drawn does not depend on
        # who draws it, which is a matter of timing.
        self._proposer.skip(drawn - self._drawn)
        cut = False

        def is_cut() -> bool:
            nonlocal cut
            cut = self._channel.receive_now() is not None
            return cut

        answer = self.draft(keep, tail, count, verified, is_cut)
        drafted = answer[1]
        self._drawn = drawn + len(drafted)
        if cut:
            self._pass_on(drafted)
        self._channel.send(answer)
        return drafted

    def _pass_on(self, drafted: list[int]) -> None:
        # If the other copy is gone, the main process notices and says so.
        with suppress(ChannelClosed):
            self._peer.send((_BATON, drafted))


def _serve(peer: Channel, channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    peer.patience = channel.patience
    _Runner(model, sampler, channel, peer).serve()


class _Copy(Worker):
    """The main process's handle on a copy. ``held``: length of the text's beginning that it has."""

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: WorkerOptions,
        peer: Channel,
    ) -> None:
        super().__init__(load, sampler, options, functools.partial(_serve, peer))
        self.held = 0

    def proposal(self, answer: Message | None = None) -> Proposal:
        """What it has drafted: its ``answer``, else the next one."""
        answer = answer or self.receive()
        with self.understood():
            return proposal(answer, self.vocab_size)


class RelayDrafter:
    """Drafts on request by two copies, one at each end of the target.

    While the target is at its first end, the copy at the last end drafts; when the target goes over
    (``handover``), the copy at the first end reads what that one has drafted and drafts the rest.
    It says of each token who drafted it (``drafted_by``, by position, 0 the first end).

    Parameters
    ----------
    ends
        The first end and the last.
    sampler
        How drafted tokens are chosen.
    move
        Moves the target to the first end (0) or the last (1), if that is for this process to do.
    """

    def __init__(
        self, ends: Sequence[End], sampler: Sampler, move: Callable[[int], None] = lambda end: None
    ) -> None:
        self._move = move
        self._text: list[int] = []
        self.drafted_by: list[int] = []
        self._drawn = 0
        self._open = self._handed_over = False
        self._opening: Message | None = None
        with ExitStack() as stack:
            peers = [stack.enter_context(closing(one)) for one in Channel.pair(0.0)]
            with ExitStack() as started:
                self._copies: list[_Copy] = []
                for end, peer in zip(ends, peers, strict=True):
                    copy = _Copy(end.load_draft, sampler, end.draft_process, peer)
                    started.callback(copy.close)
                    self._copies.append(copy)
                started.pop_all()

    @property
    def pids(self) -> list[int]:
        """Process ids of the copies, that at the first end first."""
        return [copy.pid for copy in self._copies]

    @property
    def bytes_sent(self) -> int:
        return sum(copy.bytes_sent for copy in self._copies)

    def wait_ready(self) -> None:
        for copy in self._copies:
            copy.wait_ready()

    def prepare(self, windows: Sequence[int], start: int, end: int) -> None:
        there = [copy for copy in self._copies if copy.fixed_shapes]
        for copy in there:
            copy.send((PREPARE, list(windows), start, end))
        for copy in there:
            copy.receive_word(PREPARED)

    def begin(self, seed: int, start: int) -> None:
        self._drawn = 0
        for copy in self._copies:
            copy.send((BEGIN, seed, start))

    def request(self, keep: int, tail: Sequence[int], count: int, verified: int = 0) -> None:
        # The target moves first: a copy that wakes up beside it might not let it go.
        self._move(0)
        self._text[keep:] = tail
        self.drafted_by[keep:] = [0] * len(tail)
        for copy in self._copies:
            copy.held = min(copy.held, keep)
        self._count, self._verified = count, verified
        self._opening = None
        self._open, self._handed_over = True, False
        self._send_leg(1, follows=False)

    def handover(self) -> None:
        """The target goes over to its last end."""
        # A target that reads in several forwards goes over more than once.
        first_time = self._open and not self._handed_over and self._opening is None
        if first_time:
            self._opening = self._copies[1].receive_now()
        # A copy that is done already has nothing to give.
        unfinished = first_time and self._opening is None
        if unfinished:
            self._copies[1].send((_HAND_OVER,))
        self._move(1)
        if unfinished:
            self._send_leg(0, follows=True)
            self._handed_over = True

    def collect(self) -> Proposal:
        first, last = self._copies
        collected = last.proposal(self._opening)
        self._take(1, collected)
        if self._handed_over:
            rest = first.proposal()
            self._take(0, rest)
            seconds = collected.seconds + rest.seconds
            collected = Proposal(collected.draft + rest.draft, seconds)
        self._open = False
        return collected

    def row(self, position: int) -> torch.Tensor:
        copy = self._copies[self.drafted_by[position]]
        copy.send((ROW, position))
        answer = copy.receive()
        with copy.understood():
            return distribution(answer, copy.vocab_size)

    def peak_memory_bytes(self) -> int:
        return sum(copy.peak_memory_bytes() for copy in self._copies)

    def close(self) -> None:
        for copy in self._copies:
            copy.close()

    def _send_leg(self, end: int, follows: bool) -> None:
        copy = self._copies[end]
        tail = self._text[copy.held :]
        copy.send((_LEG, copy.held, tail, self._count, self._verified, self._drawn, follows))

    def _take(self, end: int, proposal: Proposal) -> None:
        self._text += proposal.draft
        self.drafted_by += [end] * len(proposal.draft)
        self._drawn += len(proposal.draft)
        self._copies[end].held = len(self._text)
