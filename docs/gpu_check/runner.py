"""Steps run one after the other, each in a process of its own, within a limit for all of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu_check.rows import FOLDER, ROWS, Finding, read_rows
from gpu_check.steps import Step

#: Bytes of a step's output that the log keeps, its end.
_KEPT = 1_000_000


class Runner:
    """Runs steps and gathers what they tell.

    Parameters
    ----------
    folder
        Where the files of the check go.
    scratch
        A folder for what is not to be kept.
    seconds
        The limit for all steps together.
    environment
        Variables of the steps' processes.
    patience
        How many times as long as on a GPU a step may take.
    """

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        seconds: float,
        environment: Mapping[str, str],
        patience: float = 1.0,
    ) -> None:
        self._folder, self._scratch = folder, scratch
        self._seconds = seconds
        self._patience = patience
        self._end = time.monotonic() + seconds
        self._environment = dict(environment)
        self.rows: list[Finding] = []
        self.failed: list[str] = []

    def run(self, step: Step) -> None:
        """Run a step, and go on whatever becomes of it; its rows say what did."""
        left = self._end - time.monotonic()
        if left < step.least:
            self._add(
                step,
                "skipped",
                f"{left:.0f} s of the limit of {self._seconds:.0f} s are left, it needs at least"
                f" {step.least:.0f}",
            )
            return
        limit = min(step.seconds * self._patience, left)
        told, output = self._scratch / f"{step.name}.rows", self._scratch / f"{step.name}.log"
        environment = self._environment | {ROWS: str(told), FOLDER: str(self._folder)}
        start = time.monotonic()
        code = _run([sys.executable, "-m", *step.command], environment, output, limit)
        seconds = time.monotonic() - start
        self.rows += read_rows(told, step.name)
        if code is None:
            self._fail(step, f"stopped at its limit of {limit:.0f} s", output)
        elif code:
            self._fail(step, f"failed after {seconds:.0f} s with exit code {code}", output)
        else:
            self._add(step, f"done in {seconds:.0f} s")
        self._log(step, output)

    def _fail(self, step: Step, what: str, output: Path) -> None:
        self.failed.append(step.name)
        lines = [line for line in _end_of(output).splitlines() if line.strip()]
        self._add(step, what, lines[-1].strip()[:200] if lines else "it said nothing")

    def _add(self, step: Step, value: str, note: str = "") -> None:
        print(f"== {step.name}: {value}" + (f" ({note})" if note else ""), flush=True)
        self.rows.append(Finding(step.name, "the step", value, note))

    def _log(self, step: Step, output: Path) -> None:
        with (self._folder / "log.txt").open("a") as log:
            log.write(f"==== {step.name} ====\n{_end_of(output)}\n")


def _run(
    command: Sequence[str], environment: Mapping[str, str], output: Path, seconds: float
) -> int | None:
    """Exit code of a command, or None where it was stopped, with all that it had started."""
    with output.open("w") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            # Also what it left running when it ended.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end_of(output: Path) -> str:
    data = output.read_bytes()[-_KEPT:] if output.exists() else b""
    return data.decode(errors="replace")
