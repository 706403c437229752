"""vLLM's side of the draft process: how it is started, asked, watched and ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from decoders.process.channel import Channel, ChannelClosed, ChannelTimeout, Message
from decoders.process.worker import SENSELESS, how_it_ended
from decoders.vllm.drafting import FAILED, READY
from decoders.vllm.settings import PearlSettings

_ROOT = Path(__file__).resolve().parents[2]
#: Seconds that a receiver spins before it sleeps, where each process has cores of its own.
_SPIN_SECONDS = 0.005
#: Seconds that it may take to end by itself.
_GRACE_SECONDS = 2.0
#: Where OpenMP is to compute: in the worker's environment, for its target.
_BOUND = ("KMP_AFFINITY", "GOMP_CPU_AFFINITY", "OMP_PLACES")
_OMP = (*_BOUND, "OMP_PROC_BIND", "OMP_NUM_THREADS")


class DraftLost(Exception):
    """The draft process is of no more use; the message says why."""


class DraftProcess:
    """The draft process, from its start on.

    It is no child by multiprocessing, since a worker of vLLM may not have one. It ignores a Ctrl-C,
    which is for vLLM, and ends when its channel closes, as when the worker is gone.

    Parameters
    ----------
    settings
        What the user has set.
    device, dtype
        Of the draft model.
    vocab_size
        The target's.
    trust_remote_code
        Whether the user lets code run that comes with a model.
    """

    #: What it runs.
    module = f"{__package__}.draft_process"

    def __init__(
        self,
        settings: PearlSettings,
        device: str,
        dtype: str,
        vocab_size: int,
        trust_remote_code: bool = False,
    ) -> None:
        self._settings = settings
        others = target_cores(os.environ)
        cores = settings.cores or free_cores(others, settings.threads)
        apart = bool(cores) and not others & set(cores)
        spin_seconds = _SPIN_SECONDS if apart else 0.0
        self._channel, theirs = Channel.pair(spin_seconds)
        told = {
            "descriptors": theirs.descriptors,
            "spin_seconds": spin_seconds,
            "directory": os.getcwd(),
            "cores": list(cores) or sorted(_every_core()),
            "threads": settings.threads,
            "nice": settings.nice,
            "location": settings.location,
            "revision": settings.revision,
            "device": device,
            "dtype": dtype,
            "vocab_size": vocab_size,
            "confides": settings.decides,
            "trust_remote_code": trust_remote_code,
        }
        # Started where our packages are, it finds these and no others of their names.
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, json.dumps(told)],
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if name not in _OMP},
            stdin=subprocess.DEVNULL,
            # In vLLM's session: Linux shares out cores session by session (autogroup), and one of
            # its own was seen to be kept from its core for half a second.
            pass_fds=theirs.descriptors,
        )
        theirs.close()
        self.vocab_size = vocab_size
        #: The longest text that its model can read.
        self.longest = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until its model is loaded."""
        with self.understood(f"was not ready within {self._settings.start_timeout} s"):
            _, vocab_size, longest = self._checked(
                self._channel.receive(self._settings.start_timeout), READY
            )
            self.vocab_size, self.longest = int(vocab_size), int(longest)

    def send(self, message: Message) -> None:
        """Send a message, without waiting for an answer."""
        with self.understood(f"read nothing for {self._settings.answer_timeout} s"):
            self._channel.send(message, self._settings.answer_timeout)

    def receive(self, name: str) -> Message:
        """Wait for a message, which must have this name; gives what it says."""
        with self.understood(f"was silent for {self._settings.answer_timeout} s"):
            return self._checked(self._channel.receive(self._settings.answer_timeout), name)

    def receive_within(self, name: str, seconds: float) -> Message | None:
        """Wait for a message for so long; ``None`` where none came."""
        with self.understood():
            try:
                return self._checked(self._channel.receive(seconds), name)
            except ChannelTimeout:
                return None

    def receive_now(self, name: str) -> Message | None:
        """The next message if it is there."""
        with self.understood():
            message = self._channel.receive_now()
            return None if message is None else self._checked(message, name)

    def close(self) -> None:
        """End it, by force if it does not end by itself."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
            return
        self.kill()

    def kill(self) -> None:
        """End it by force, without waiting for long."""
        self._channel.close()
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)

    @contextlib.contextmanager
    def understood(self, silent: str = "") -> Iterator[None]:
        """Where the body finds it gone or silent or can't understand it, say so."""
        try:
            yield
        except ChannelClosed:
            raise self.lost(self._ended()) from None
        except ChannelTimeout:
            raise self.lost(silent) from None
        except SENSELESS as error:
            raise self.lost(f"gave an answer that makes no sense: {error}") from error

    def _checked(self, message: Any, name: str) -> Message:
        if not isinstance(message, tuple) or not message or message[0] not in (name, FAILED):
            raise ValueError(f"expected {name!r}, got {str(message)[:80]!r}")
        if message[0] == FAILED:
            raise self.lost(f"failed: {message[1]}")
        return message

    def _ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return how_it_ended(self._process.wait(_GRACE_SECONDS))
        return how_it_ended(None)

    def lost(self, how: str) -> DraftLost:
        """The error that it is of no more use."""
        return DraftLost(f"the draft process (pid {self.pid}) {how}")


def target_cores(environment: Mapping[str, str]) -> set[int]:
    """Cores that vLLM has bound the threads of its target to, as its worker's environment says."""
    told = environment.get("VLLM_CPU_OMP_THREADS_BIND", "auto")
    lists = [environment.get(name, "").replace("granularity=fine,explicit,", "") for name in _BOUND]
    if told not in ("auto", "nobind"):
        # Also those of other ranks.
        lists.append(told)
    cores = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", " ".join(lists)):
        cores |= set(range(int(first), int(last or first) + 1))
    return cores


def free_cores(taken: set[int], count: int) -> Sequence[int]:
    """Some of the cores that are not ``taken``, or none where all are, or where nobody knows.

    Rather such as share no physical core with one that is.
    """
    if not taken:
        return ()
    free = sorted(_every_core() - taken, key=lambda core: (bool(_siblings(core) & taken), -core))
    return tuple(sorted(free[:count]))


def _siblings(core: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        listed = path.read_text()
    except OSError:
        return set()
    return {
        one
        for first, last in re.findall(r"(\d+)(?:-(\d+))?", listed)
        for one in range(int(first), int(last or first) + 1)
    }


def _every_core() -> set[int]:
    """Cores that there are for vLLM: those of the process that started its worker."""
    try:
        return os.sched_getaffinity(os.getppid())
    except OSError:
        return os.sched_getaffinity(0)
