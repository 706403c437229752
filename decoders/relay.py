"""Two copies of the draft model that draft by turns, each where the target is not computing."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from decoders.channel import Channel, ChannelClosed
from decoders.decoder import End
from decoders.draft_process import DraftProcess, DraftProcessOptions
from decoders.drafter import Begin, Proposal, Request, Row, Service
from decoders.model import CachedModel
from decoders.sampler import Draft, Sampler


@dataclass(slots=True)
class _Leg:
    """Draft this. Tokens ``drawn`` so far for the prompt, by either copy.

    ``follows``: wait for what the other copy has drafted of it, and draft the rest.
    """

    request: Request
    drawn: int
    follows: bool


class _HandOver:
    """Stop after the token you are at, and give the other copy what you have drafted."""


class _Runner(Service):
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
        last = Draft()
        while True:
            message = self._channel.receive()
            match message:
                case _HandOver():
                    self._pass_on(last)
                case _Leg():
                    if message.follows:
                        self._await_peer(message)
                    last = self._run(message)
                case Begin():
                    self._drawn = 0
                    self.answer(message)
                case _:
                    self._channel.send(self.answer(message))

    def _run(self, leg: _Leg) -> Draft:
        # One stream of random numbers for both copies, so that what is drawn does not depend on
        # who draws it, which is a matter of timing.
        self._proposer.skip(leg.drawn - self._drawn)
        cut = False

        def is_cut() -> bool:
            nonlocal cut
            cut = self._channel.receive_now() is not None
            return cut

        proposal = self.draft(leg.request, is_cut)
        self._drawn = leg.drawn + len(proposal.draft)
        if cut:
            self._pass_on(proposal.draft)
        self._channel.send(proposal)
        return proposal.draft

    def _pass_on(self, drafted: Draft) -> None:
        # If the other copy is gone, the main process notices and says so.
        with contextlib.suppress(ChannelClosed):
            self._peer.send(drafted.tokens)

    def _await_peer(self, leg: _Leg) -> None:
        drafted = self._peer.receive()
        leg.request.tail += drafted
        leg.request.count -= len(drafted)
        leg.drawn += len(drafted)


def _serve(peer: socket.socket, channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    _Runner(model, sampler, channel, Channel(peer, spin_seconds=0.0)).serve()


class _Copy(DraftProcess):
    """The main process's handle on a copy. ``held``: length of the text's beginning that it has."""

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: DraftProcessOptions,
        peer: socket.socket,
    ) -> None:
        super().__init__(load, sampler, options, functools.partial(_serve, peer))
        self.held = 0

    def collect(self) -> Proposal:
        proposal = self.receive()
        assert isinstance(proposal, Proposal)
        return proposal


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
        self._opening: Proposal | None = None
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(one) for one in socket.socketpair()]
            with contextlib.ExitStack() as started:
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

    def begin(self, seed: int, start: int) -> None:
        self._drawn = 0
        for copy in self._copies:
            copy.send(Begin(seed, start))

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
            self._copies[1].send(_HandOver())
        self._move(1)
        if unfinished:
            self._send_leg(0, follows=True)
            self._handed_over = True

    def collect(self) -> Proposal:
        opening, closing = self._copies[1], self._copies[0]
        proposal = self._opening or opening.collect()
        self._take(1, proposal)
        if self._handed_over:
            rest = closing.collect()
            self._take(0, rest)
            seconds = proposal.seconds + rest.seconds
            proposal = Proposal(proposal.draft + rest.draft, seconds)
        self._open = False
        return proposal

    def row(self, position: int) -> torch.Tensor:
        copy = self._copies[self.drafted_by[position]]
        copy.send(Row(position))
        return torch.from_numpy(copy.receive())

    def peak_memory_bytes(self) -> int:
        return sum(copy.peak_memory_bytes() for copy in self._copies)

    def close(self) -> None:
        for copy in self._copies:
            copy.close()

    def _send_leg(self, end: int, follows: bool) -> None:
        copy = self._copies[end]
        request = Request(copy.held, self._text[copy.held :], self._count, self._verified)
        copy.send(_Leg(request, self._drawn, follows))

    def _take(self, end: int, proposal: Proposal) -> None:
        self._text += proposal.draft
        self.drafted_by += [end] * len(proposal.draft)
        self._drawn += len(proposal.draft)
        self._copies[end].held = len(self._text)
