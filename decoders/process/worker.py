"""A process that holds a model: how it is started, watched and ended."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from decoders.model.cached_model import CachedModel
from decoders.process.channel import Channel, ChannelClosed, ChannelTimeout, Message
from decoders.process.memory_use import peak_resident_bytes
from decoders.process.placement import Placement
from decoders.sampling.sampler import Sampler

#: Seconds a draft process may take to end by itself before it is killed.
_GRACE_SECONDS = 2.0

#: What a draft process does once its model is loaded, until the channel is closed.
Service = Callable[[Channel, CachedModel, Sampler], None]

# Messages of any draft process: its model is loaded (vocabulary, whether its forwards have fixed
# shapes); it ends, with what and where it failed.
_READY = "ready"
_FAILED = "failed"
# To a draft process: make ready for a text, see ``CachedModel.prepare`` (windows, start, end); and
# its answer, that it is.
PREPARE = "prepare"
PREPARED = "prepared"


#: What is thrown where an answer of another process makes no sense.
SENSELESS = (ValueError, TypeError, LookupError, AttributeError, EOFError)


def how_it_ended(exit_code: int | None) -> str:
    """How a process left that does not answer any more; ``None``: it is still there."""
    if exit_code is None:
        return "closed its connection"
    if exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


class WorkerError(RuntimeError):
    """A draft process, or an engine, failed, died or did not answer."""


@dataclass(frozen=True)
class WorkerOptions:
    """How the draft process starts and where it runs, and how long is waited for it (seconds).

    ``idle_timeout`` is how long it waits itself, for a main process that is there but asks nothing.

    ``forkserver`` is quick, see :mod:`decoders.process.fork_server`. ``spawn`` imports everything
    anew, for some seconds; it is for models on a GPU, which a process that was forked may be
    unable to use.
    """

    placement: Placement = field(default_factory=Placement)
    start_timeout: float = 600.0
    answer_timeout: float = 120.0
    idle_timeout: float = 172_800.0
    spin_seconds: float = 0.005
    start_method: Literal["forkserver", "spawn"] = "forkserver"


def _main(
    channel: Channel,
    load: Callable[[], CachedModel],
    sampler: Sampler,
    options: WorkerOptions,
    serve: Service,
) -> None:
    """Body of the draft process: serve until the other side is gone."""
    # Ctrl-C reaches the whole terminal group; the main process decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel.patience = options.idle_timeout
    try:
        options.placement.apply()
        model = load()
        # What there is now stays; looking through it again and again would only take time.
        gc.collect()
        gc.freeze()
        channel.send((_READY, model.vocab_size, model.fixed_shapes))
        serve(channel, model, sampler)
    except ChannelClosed:
        return
    except BaseException as error:
        if isinstance(error, ChannelTimeout):
            what = f"it was asked nothing for {error} s (runtime.idle_timeout)"
        else:
            what = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        with contextlib.suppress(ChannelClosed, ChannelTimeout):
            channel.send((_FAILED, what, traceback.format_exc()), options.answer_timeout)


class Worker:
    """The main process's handle on a process that holds a model, such as the draft process.

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
    #: Whether there is something for its model to make ready before a text.
    fixed_shapes = False

    def __init__(
        self,
        load: Callable[[], CachedModel],
        sampler: Sampler,
        options: WorkerOptions,
        serve: Service,
    ) -> None:
        self._options = options
        self._channel, theirs = Channel.pair(options.spin_seconds)
        context: Any = multiprocessing.get_context(options.start_method)
        self._process = context.Process(
            target=_main, args=(theirs, load, sampler, options, serve), name=self.role, daemon=True
        )
        try:
            self._start()
        except BaseException:
            # Should it start yet, it finds nobody there, and ends. Its own side may be on the way.
            self._channel.close()
            raise
        theirs.close()
        self._vocab_size = 0

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def bytes_sent(self) -> int:
        """Bytes that have crossed between the processes so far, both directions."""
        return self._channel.bytes_sent + self._channel.bytes_received

    @property
    def vocab_size(self) -> int:
        """Number of token ids of its model, once that is loaded."""
        return self._vocab_size

    def wait_ready(self) -> None:
        """Wait until the draft model is loaded."""
        message = self._receive(self._options.start_timeout)
        with self.understood():
            _, self._vocab_size, self.fixed_shapes = message

    def prepare(self, windows: Sequence[int], start: int, end: int) -> None:
        """Make its model ready for a text, see ``CachedModel.prepare``, and wait for it.

        Its process must not be at a text.
        """
        if self.fixed_shapes:
            self.send((PREPARE, list(windows), start, end))
            self.receive_word(PREPARED)

    def send(self, message: Message) -> None:
        """Send a message, without waiting for an answer."""
        try:
            self._channel.send(message, self._options.answer_timeout)
        except ChannelClosed:
            raise self._died() from None
        except ChannelTimeout:
            raise self.silent("read what it is sent", self._options.answer_timeout) from None

    def receive(self) -> Message:
        """The next message, waited for as long as ``answer_timeout`` says."""
        return self._receive(self._options.answer_timeout)

    def receive_within(self, seconds: float) -> Message | None:
        """The next message if it comes within ``seconds``, else ``None``."""
        try:
            with self.understood():
                message = self._channel.receive(seconds)
        except ChannelClosed:
            raise self._died() from None
        except ChannelTimeout:
            return None
        return self._checked(message)

    def receive_word(self, word: str) -> None:
        """Wait for a message that says nothing but ``word``."""
        answer = self.receive()
        with self.understood():
            if answer != (word,):
                raise ValueError(f"expected {word!r}, got {str(answer)[:80]!r}")

    def receive_now(self) -> Message | None:
        """The next message if it is there, else ``None``."""
        try:
            with self.understood():
                message = self._channel.receive_now()
        except ChannelClosed:
            raise self._died() from None
        return None if message is None else self._checked(message)

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """Where the body can't make sense of an answer, say so."""
        try:
            yield
        except SENSELESS as error:
            raise WorkerError(
                f"{self.role} (pid {self.pid}) gave an answer that makes no sense: {error}"
            ) from error

    def peak_memory_bytes(self) -> int:
        """Peak resident memory of the draft process, in bytes; 0 where it can't be read."""
        return peak_resident_bytes(self.pid)

    def close(self) -> None:
        """End the draft process, by force if it does not end by itself."""
        # It then knows that nothing more will come, upon which it ends.
        self._channel.close()
        self._process.join(_GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_GRACE_SECONDS)

    def _start(self) -> None:
        """Start the process, in a thread: a fork server that is stuck would never answer."""
        errors: list[Exception] = []

        def start() -> None:
            try:
                self._process.start()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=start, daemon=True)
        thread.start()
        thread.join(self._options.start_timeout)
        if thread.is_alive():
            raise WorkerError(
                f"{self.role} could not be started within {self._options.start_timeout} s"
            )
        if errors:
            raise WorkerError(f"{self.role} could not be started: {errors[0]}") from errors[0]

    def _receive(self, timeout: float) -> Message:
        message = self.receive_within(timeout)
        if message is None:
            raise self.silent("answer", timeout)
        return message

    def _checked(self, message: Any) -> Message:
        """A message, if it is one and does not say that the process failed."""
        with self.understood():
            if not isinstance(message, tuple) or not message or not isinstance(message[0], str):
                raise ValueError(
                    "expected a message, a tuple that begins with its name, got"
                    f" {str(message)[:80]!r}"
                )
            if message[0] == _FAILED:
                _, what, trace = message
                raise self._failed(what, trace)
        return message

    def silent(self, what: str, seconds: float) -> WorkerError:
        """The error that it did not do something in time."""
        return WorkerError(f"{self.role} (pid {self.pid}) did not {what} within {seconds} s")

    def _failed(self, what: str, trace: str) -> WorkerError:
        failure = WorkerError(f"{self.role} failed: {what}")
        # Shown with a traceback, where one is shown (add_note needs Python 3.11).
        failure.__cause__ = RuntimeError(trace)
        return failure

    def _died(self) -> WorkerError:
        self._process.join(_GRACE_SECONDS)
        how = how_it_ended(self._process.exitcode)
        return WorkerError(f"{self.role} (pid {self.pid}) {how}")
