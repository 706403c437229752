"""Processes that compute one model together: started, watched, ended."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from torch import distributed

from decoders.model.cached_model import CachedModel
from decoders.process.channel import Message
from decoders.process.clock import clock
from decoders.process.worker import Service, Worker, WorkerError, WorkerOptions
from decoders.sampling.sampler import Greedy

#: Seconds that a process whose end is near is given to end.
_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.02
#: What gloo and NCCL call themselves in their errors.
_TRANSPORTS = ("gloo", "nccl")
#: The loopback interface: nobody else can reach what listens there.
_LOOPBACK = "lo"


@dataclass(frozen=True)
class Group:
    """The ranks of one model, which find each other by a file and talk over the loopback interface.

    Parameters
    ----------
    file
        Path of the file; there is none yet.
    devices
        The device of each rank: all ``cpu``, or CUDA devices of their own.
    timeout
        Seconds a rank waits for another within a forward.
    """

    file: str
    devices: tuple[str, ...]
    timeout: float

    def load(
        self,
        rank: int,
        load: Callable[[], CachedModel],
        before: Callable[[distributed.FileStore], None],
    ) -> CachedModel:
        """Join as a rank and load its share of the model.

        ``before`` is called with what the ranks find each other by, before any other is waited for.
        """
        device = torch.device(self.devices[rank])
        store = distributed.FileStore(self.file, len(self.devices))
        before(store)
        # transformers, gloo and NCCL are told these in no other way.
        names = {
            "LOCAL_RANK": str(device.index or 0),
            "GLOO_SOCKET_IFNAME": _LOOPBACK,
            "NCCL_SOCKET_IFNAME": _LOOPBACK,
        }
        with _environment(names):
            distributed.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=store,
                rank=rank,
                world_size=len(self.devices),
                timeout=timedelta(seconds=self.timeout),
                device_id=device if device.type == "cuda" else None,
            )
            return load()


def _arrived(rank: int, store: distributed.FileStore) -> None:
    store.set(f"arrived {rank}", "")


class Rank(Worker):
    """A rank other than 0, in a process of its own. Its service gets its share of the model."""

    def __init__(
        self,
        number: int,
        group: Group,
        load: Callable[[], CachedModel],
        options: WorkerOptions,
        serve: Service,
    ) -> None:
        self.role = f"rank {number} of the target"
        self._fate: WorkerError | None = None
        join = partial(group.load, number, load, partial(_arrived, number))
        super().__init__(join, Greedy(), options, serve)

    def fate(self, seconds: float = 0.0) -> WorkerError | None:
        """What became of it if it has ended, or ends within so many seconds."""
        self._process.join(seconds)
        if self._fate is None and not self._process.is_alive():
            try:
                while self.receive_now() is not None:
                    pass
                self._fate = self._died()
            except WorkerError as error:
                self._fate = error
        return self._fate


class Ranks:
    """The ranks from 1 on of a model whose rank 0 is this process.

    Parameters
    ----------
    load
        Loads a rank's share of the model once its process group is there; must be picklable.
    options
        How the process of each rank from 1 on starts, where it runs, how long is waited for it.
    devices
        The device of each rank, 0 included.
    serve
        What the processes do.
    """

    def __init__(
        self,
        load: Callable[[], CachedModel],
        options: Sequence[WorkerOptions],
        devices: tuple[str, ...],
        serve: Service,
    ) -> None:
        self._load = load
        self._start_timeout = max(one.start_timeout for one in options)
        self._folder = tempfile.TemporaryDirectory(prefix="pearl_eval_ranks_")
        timeout = max(one.answer_timeout for one in options)
        self._group = Group(str(Path(self._folder.name) / "store"), devices, timeout)
        self._ranks: list[Rank] = []
        try:
            for number, one in enumerate(options, start=1):
                self._ranks.append(Rank(number, self._group, load, one, serve))
        except BaseException:
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        return [rank.pid for rank in self._ranks]

    def load(self) -> CachedModel:
        """Load rank 0's share here, and wait until every other has its own."""
        with self.explained():
            model = self._group.load(0, self._load, self._wait_arrived)
        for rank in self._ranks:
            rank.wait_ready()
        return model

    def send(self, message: Message) -> None:
        """Send a message to every rank."""
        for rank in self._ranks:
            try:
                rank.send(message)
            except WorkerError as error:
                raise self._cause(_GRACE_SECONDS) or error from None

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Where the body fails because of another rank, say what became of that."""
        try:
            yield
        except WorkerError:
            raise
        except RuntimeError as error:
            text = " ".join(str(error).split())
            lost = any(name in text.lower() for name in _TRANSPORTS)
            cause = self._cause(_GRACE_SECONDS if lost else 0.0)
            if cause:
                raise cause from error
            if lost:
                raise WorkerError(
                    f"the ranks of the target lost each other: {text[:300]}"
                ) from error
            raise

    def peak_memory_bytes(self) -> int:
        """Peak resident memory of these ranks' processes, in bytes."""
        return sum(rank.peak_memory_bytes() for rank in self._ranks)

    def close(self) -> None:
        """End the processes and leave the group. May be called more than once."""
        # A rank may be amid a forward that no other takes part in any more; so all are told first.
        for rank in self._ranks:
            rank.hang_up()
        for rank in self._ranks:
            rank.close()
        self._ranks = []
        if distributed.is_initialized():
            distributed.destroy_process_group()
        self._folder.cleanup()

    def _wait_arrived(self, store: distributed.FileStore) -> None:
        """Wait for the others' first sign of life: what the group itself waits for says no more."""
        start = clock()
        names = [f"arrived {number}" for number in range(1, len(self._group.devices))]
        while not store.check(names):
            cause = self._cause(0.0)
            if cause:
                raise cause
            if clock() - start > self._start_timeout:
                raise WorkerError(
                    f"the ranks of the target did not start within {self._start_timeout} s"
                )
            time.sleep(_POLL_SECONDS)

    def _cause(self, seconds: float) -> WorkerError | None:
        """What became of the rank that failed first, if one did.

        The others then fail, too, since their connections to it break.
        """
        fates = [fate for rank in self._ranks if (fate := rank.fate(seconds))]
        return min(fates, key=_of_a_connection, default=None)


def _of_a_connection(error: WorkerError) -> bool:
    return any(name in str(error).lower() for name in _TRANSPORTS)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the body of a ``with``."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
