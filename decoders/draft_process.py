"""A process that holds the draft model: started, watched, ended; others say what it does."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from decoders.channel import Channel, ChannelClosed, ChannelTimeout
from decoders.memory_use import peak_resident_bytes
from decoders.model import CachedModel
from decoders.placement import Placement
from decoders.sampler import Sampler

#: Seconds a draft process may take to end by itself before it is killed.
_GRACE_SECONDS = 2.0

#: What a draft process does once its model is loaded, until the channel is closed.
Service = Callable[[Channel, CachedModel, Sampler], None]


class DraftProcessError(RuntimeError):
    """A draft process, or a rank of a target, failed, died or did not answer."""


@dataclass(frozen=True)
class DraftProcessOptions:
    """How the draft process starts and where it runs, and how long is waited for it (seconds).

    ``forkserver`` is quick, see :mod:`decoders.fork_server`. ``spawn`` imports everything anew, for
    some seconds; it is for models on a GPU, which a process that was forked may be unable to use.
    """

    placement: Placement = field(default_factory=Placement)
    start_timeout: float = 600.0
    answer_timeout: float = 120.0
    spin_seconds: float = 0.005
    start_method: Literal["forkserver", "spawn"] = "forkserver"


@dataclass(frozen=True)
class _Failure:
    """Why the draft process ends."""

    message: str
    trace: str


class _Ready:
    """The draft model is loaded."""


def _main(
    sock: socket.socket,
    load: Callable[[], CachedModel],
    sampler: Sampler,
    options: DraftProcessOptions,
    serve: Service,
) -> None:
    """Body of the draft process: serve until the other side is gone."""
    # Ctrl-C reaches the whole terminal group; the main process decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(sock, options.spin_seconds)
    try:
        options.placement.apply()
        model = load()
        # What there is now stays; looking through it again and again would only take time.
        gc.collect()
        gc.freeze()
        channel.send(_Ready())
        serve(channel, model, sampler)
    except ChannelClosed:
        return
    except BaseException as error:
        message = str(error).strip() or "no message"
        try:
            channel.send(_Failure(f"{type(error).__name__}: {message}", traceback.format_exc()))
        except ChannelClosed:
            return


class DraftProcess:
    """The main process's handle on the draft process.

    Parameters
    ----------
    load
        Loads the draft model; called in the draft process, so it must be picklable.
    sampler
        How drafted tokens are chosen.
    options
        Placement and time limits.
    serve
        What the process does.
    """

    #: What errors call it.
    role = "the draft process"

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: DraftProcessOptions,
        serve: Service,
    ) -> None:
        self._options = options
        ours, theirs = socket.socketpair()
        context: Any = multiprocessing.get_context(options.start_method)
        self._process = context.Process(
            target=_main, args=(theirs, load, sampler, options, serve), name=self.role, daemon=True
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
        self._checked(lambda: self._channel.receive(self._options.start_timeout))

    def send(self, message: Any) -> None:
        """Send a message, without waiting for an answer."""
        try:
            self._channel.send(message)
        except ChannelClosed:
            raise self._died() from None

    def receive(self) -> Any:
        """The next message, waited for as long as ``answer_timeout`` says."""
        return self._checked(lambda: self._channel.receive(self._options.answer_timeout))

    def receive_now(self) -> Any | None:
        """The next message if it is there, else ``None``."""
        return self._checked(self._channel.receive_now)

    def peak_memory_bytes(self) -> int:
        """Peak resident memory of the draft process, in bytes; 0 where it can't be read."""
        return peak_resident_bytes(self.pid)

    def hang_up(self) -> None:
        """Let it know that nothing more will come, upon which it ends."""
        self._channel.close()

    def close(self) -> None:
        """End the draft process, by force if it does not end by itself."""
        self.hang_up()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _checked(self, receive: Callable[[], Any]) -> Any:
        try:
            message = receive()
        except ChannelClosed:
            raise self._died() from None
        except ChannelTimeout as error:
            raise DraftProcessError(
                f"{self.role} (pid {self.pid}) did not answer within {error} s"
            ) from None
        if isinstance(message, _Failure):
            failure = DraftProcessError(f"{self.role} failed: {message.message}")
            # Shown with a traceback, where one is shown (add_note needs Python 3.11).
            failure.__cause__ = RuntimeError(message.trace)
            raise failure
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
        return DraftProcessError(f"{self.role} (pid {self.pid}) {how}")
