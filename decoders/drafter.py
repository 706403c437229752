"""The draft model in a process of its own."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from decoders.channel import Channel, ChannelClosed, ChannelTimeout
from decoders.model import CachedModel
from decoders.placement import Placement
from decoders.sampler import Sampler
from decoders.stopwatch import clock

#: Seconds a draft process may take to end by itself before it is killed.
_GRACE_SECONDS = 2.0


class DraftProcessError(RuntimeError):
    """The draft process failed, died or did not answer."""


@dataclass(frozen=True)
class DraftProcessOptions:
    """Where the draft process runs, and how long is waited for it (seconds)."""

    placement: Placement = field(default_factory=Placement)
    start_timeout: float = 600.0
    answer_timeout: float = 120.0
    spin_seconds: float = 0.005


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


@dataclass(frozen=True)
class _Failure:
    """Why the draft process ends."""

    message: str
    trace: str


class _Ready:
    """The draft model is loaded."""


def _serve(
    sock: socket.socket,
    load: Callable[[], CachedModel],
    sampler: Sampler,
    options: DraftProcessOptions,
) -> None:
    """Body of the draft process: answer requests until the other side is gone."""
    # Ctrl-C reaches the whole terminal group; the main process decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(sock, options.spin_seconds)
    try:
        options.placement.apply()
        model = load()
        channel.send(_Ready())
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
    except ChannelClosed:
        return
    except BaseException as error:
        message = str(error).strip() or "no message"
        try:
            channel.send(_Failure(f"{type(error).__name__}: {message}", traceback.format_exc()))
        except ChannelClosed:
            return


class Drafter:
    """The main process's handle on the draft process.

    ``request`` and ``collect`` are separate so that the target can work in between.

    Parameters
    ----------
    load
        Loads the draft model; called in the draft process, so it must be picklable.
    sampler
        How drafted tokens are chosen.
    options
        Placement and time limits.
    """

    def __init__(
        self, load: Callable[[], CachedModel], sampler: Sampler, options: DraftProcessOptions
    ) -> None:
        self._options = options
        ours, theirs = socket.socketpair()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(
            target=_serve, args=(theirs, load, sampler, options), name="draft", daemon=True
        )
        self._process.start()
        theirs.close()
        self._channel = Channel(ours, options.spin_seconds)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def bytes_sent(self) -> int:
        """Bytes that have crossed between the processes so far, both directions."""
        return self._channel.bytes_sent + self._channel.bytes_received

    def wait_ready(self) -> None:
        """Wait until the draft model is loaded."""
        self._receive(self._options.start_timeout)

    def request(self, keep: int, tail: Sequence[int], count: int) -> None:
        """Ask for ``count`` tokens after the first ``keep`` tokens it has and then ``tail``."""
        try:
            self._channel.send(_Request(keep, list(tail), count))
        except ChannelClosed:
            raise self._died() from None

    def collect(self) -> Proposal:
        """Wait for what was requested."""
        proposal = self._receive(self._options.answer_timeout)
        assert isinstance(proposal, Proposal)
        return proposal

    def peak_memory_bytes(self) -> int:
        """Peak resident memory of the draft process, in bytes; 0 where it can't be read."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return 0
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return int(fields.get("VmHWM", "0 kB").split()[0]) * 1024

    def close(self) -> None:
        """End the draft process, by force if it does not end by itself."""
        self._channel.close()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self, timeout: float) -> object:
        try:
            message = self._channel.receive(timeout)
        except ChannelClosed:
            raise self._died() from None
        except ChannelTimeout:
            raise DraftProcessError(
                f"the draft process (pid {self.pid}) did not answer within {timeout:g} s"
            ) from None
        if isinstance(message, _Failure):
            error = DraftProcessError(f"the draft process failed: {message.message}")
            error.add_note(message.trace)
            raise error
        return message

    def _died(self) -> DraftProcessError:
        self._process.join(_GRACE_SECONDS)
        code = self._process.exitcode
        if code is None:
            how = "closed its connection"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return DraftProcessError(f"the draft process (pid {self.pid}) {how}")
