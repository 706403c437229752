"""The first process of a sandbox: starts the others, keeps the time, and reports."""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any, NoReturn

from tasks.sandbox.inside import candidate
from tasks.sandbox.inside.judge import Candidate, judge
from tasks.sandbox.inside.wire import receive

#: Seconds between looks at what no limit of a process covers.
_LOOK_SECONDS = 0.05
#: Bytes that a program may write to its standard output and error, together.
_OUTPUT_BYTES = 2**19
_PIPE_BYTES = 2**16
# From linux/prctl.h.
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_SUBREAPER, _SET_NO_NEW_PRIVS = 1, 4, 36, 38
# From linux/shm.h.
_SHM_INFO = 14

_libc = ctypes.CDLL(None, use_errno=True)


def main(seconds: float, memory: int, user: int | None) -> NoReturn:
    """Check one program.

    It comes in two messages on standard input: what the candidate may know, then what only the
    judge may. The verdict goes to standard output, as JSON. End of input ends everything.

    Parameters
    ----------
    seconds
        Time limit.
    memory
        Address space of each process, in bytes.
    user
        User and group to become, where this process is privileged.
    """
    _give_up_privileges(user)
    task = receive(0)
    verdict_end, verdicts = os.pipe()
    output_end, output = os.pipe()
    judging = os.fork()
    if judging == 0:
        os.close(verdict_end)
        os.close(output_end)
        _judge(task, verdicts, output, memory, math.ceil(seconds) + 1)
    os.close(verdicts)
    os.close(output)
    result = _watch(verdict_end, output_end, seconds, alone=os.getpid() == 1)
    print(json.dumps({"result": result}), flush=True)
    _end_others()
    os._exit(0)


def _give_up_privileges(user: int | None) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Without a handler the first process of a PID namespace can't be signalled from inside.
        signal.signal(number, signal.SIG_DFL)
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    for option, value in (
        (_SET_NO_NEW_PRIVS, 1),
        # Nobody of the same user may look into this process, nor into the judge, its child.
        (_SET_DUMPABLE, 0),
        (_SET_SUBREAPER, 1),
        (_SET_PDEATHSIG, signal.SIGKILL),
    ):
        if _libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl {option}")


def _judge(task: Any, verdicts: int, output: int, memory: int, seconds: int) -> NoReturn:
    """Start the candidate, and only then read the tests, so that it can't have seen them."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _run_candidate(task, theirs.fileno(), output, memory, seconds)
    theirs.close()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    tests = receive(0)
    candidate.limit_resources(memory, seconds)
    result = judge(Candidate(ours.fileno(), pid), entry_point=task["entry_point"], **tests)
    os.write(verdicts, result.encode("utf-8", "replace"))
    os._exit(0)


def _run_candidate(task: Any, channel: int, output: int, memory: int, seconds: int) -> NoReturn:
    """Run the program with no descriptor of ours but its own channel."""
    nothing, writing = os.pipe()
    high = [os.dup2(old, 100 + i) for i, old in enumerate((nothing, output, output, channel))]
    os.close(writing)
    for new, old in enumerate(high):
        os.dup2(old, new)
    os.closerange(len(high), 1024)
    candidate.limit_resources(memory, seconds)
    try:
        candidate.main(**task)
    finally:
        os._exit(1)


def _watch(verdict_end: int, output_end: int, seconds: float, alone: bool) -> str:
    """Wait for the verdict, for as long as the program keeps to its limits.

    ``alone``: whether this sandbox has an IPC namespace of its own.
    """
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(0, 0)
    poll.register(verdict_end, select.POLLIN)
    poll.register(output_end, select.POLLIN)
    os.set_blocking(output_end, False)
    written = 0
    while (left := deadline - time.monotonic()) > 0:
        ready = [descriptor for descriptor, _ in poll.poll(min(left, _LOOK_SECONDS) * 1000)]
        if alone and _shared_memory():
            return "failed: it took System V shared memory, which no limit covers"
        if output_end in ready:
            with contextlib.suppress(BlockingIOError):
                piece = os.read(output_end, _PIPE_BYTES)
                written += len(piece)
                if not piece:
                    poll.unregister(output_end)
            if written > _OUTPUT_BYTES:
                return f"failed: it wrote more than {_OUTPUT_BYTES >> 10} KiB of output"
        if verdict_end in ready:
            result = os.read(verdict_end, _PIPE_BYTES).decode("utf-8", "replace")
            return result or "failed: it killed the process that judges it"
        if 0 in ready:
            return "failed: nobody waits for it"
    return "timed out"


def _shared_memory() -> bool:
    """Whether there are shared memory segments in this IPC namespace; see shmctl(2)."""
    info = (ctypes.c_int * 16)()  # a struct shm_info, whose first field is their number
    _libc.shmctl(0, _SHM_INFO, info)
    return bool(info[0])


def _end_others() -> None:
    """Kill every descendant, where the end of this process does not do so by itself.

    Orphans become children of this process, so it goes on until there are none.
    """
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if os.getpid() == 1 or not children.exists():
        return
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)
