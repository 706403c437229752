"""Runs killed at random moments, and gone on with by their folder alone."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from program import PROGRAM

#: Longest time until all of a killed run's processes have ended, in seconds: one that imports its
#: libraries notices when it has.
END_SECONDS = 30
#: Of the kills of a run so many may come after its last prompt.
LATE_KILLS = 2
#: A kill comes at most so long after what it waited for, in seconds.
SECONDS = {"start": 6.0, "loading": 0.5, "prompt": 0.2, "end": 0.5}
_MARK = "PEARL_EVAL_KILLS"
#: In the command of every process that checks generated code.
_SANDBOX = "tasks.sandbox.inside"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Killer:
    """Starts commands in ``folder`` and kills them; counts what was killed, and amid what."""

    folder: Path
    seed: int
    killed: collections.Counter[str] = field(default_factory=collections.Counter)
    during: collections.Counter[str] = field(default_factory=collections.Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.mark = uuid.uuid4().hex
        self._tracked = False
        # Short, as sockets lie below it.
        self.temporary = Path(tempfile.mkdtemp(prefix="kills-", dir="/tmp"))
        self.shared = set(os.listdir("/dev/shm"))

    def close(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)

    def run(self, arguments: Sequence[str], kills: int, prompts: int) -> None:
        """Begin a run of so many prompts in ``folder/run``, kill it so often, then let it end."""
        run = self.folder / "run"
        self._tracked = "tracking=none" not in arguments
        start = [*arguments, f"hydra.run.dir={run}"]
        while kills:
            with self._started(start) as process:
                kills -= self._kill(process, run, prompts, kills)
            if (run / ".hydra" / "hydra.yaml").exists():
                start = [f"resume={run}"]
        with self._started(start) as process:
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err

    def left(self) -> list[str]:
        """What is left of the runs: processes, temporary files, shared memory."""
        deadline = time.monotonic() + END_SECONDS
        while (left := self._left()) and time.monotonic() < deadline:
            time.sleep(1)
        return left

    def _kill(self, process: subprocess.Popen[str], run: Path, prompts: int, kills: int) -> bool:
        """Kill a run at a moment of chance, by one of ``kills``; whether it still ran then."""
        records = run / "records.jsonl"
        before = count_lines(records)
        writing = self._wait_for_moment(process, run, before, prompts, kills)
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(process.pid)
            everyone = main.children(recursive=True)
            during = "writing" if writing else self._doing(main, everyone, records, before, prompts)
            drafts = draft_processes(main)
            victims = {"main": [main], "draft": drafts, "both": [main, *drafts]}
            who = self.chance.choice([name for name, those in victims.items() if those])
            for victim in victims[who]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            _, err = process.communicate(timeout=120)
            if who != "draft":
                assert process.returncode in (0, -signal.SIGKILL), err
            elif process.returncode:
                assert process.returncode == 2 and "was killed by SIGKILL" in err, err
                assert "Traceback" not in err, err
            _, alive = psutil.wait_procs(everyone, timeout=END_SECONDS)
            assert not alive, (during, who, [one.cmdline() for one in alive])
            if process.returncode:
                self.killed[who] += 1
                self.during[during] += 1
                return True
        process.communicate(timeout=120)
        return False

    def _wait_for_moment(
        self, process: subprocess.Popen[str], run: Path, before: int, prompts: int, kills: int
    ) -> bool:
        """While it starts, once it has a draft process, after some prompt beyond ``before``, while
        one is written, or after the last; whether one is being written: its rounds are there, and
        its record is not."""
        records, rounds = run / "records.jsonl", run / "rounds.jsonl"
        # Whoever is past the last prompt once is there ever after.
        late = ["end"] * 4 if kills <= LATE_KILLS else []
        when = self.chance.choice(["start", "loading", "prompt", "writing", *late])
        size = _size(rounds)
        until = {
            "start": 0,
            "loading": 0,
            "prompt": min(prompts, before + self.chance.randint(1, 2)),
            "writing": prompts,
            "end": prompts,
        }[when]
        deadline = time.monotonic() + 120
        while (
            process.poll() is None and time.monotonic() < deadline and count_lines(records) < until
        ):
            if when == "writing":
                if _size(rounds) > size:
                    return count_lines(records) == before
                # What was torn is cut off as the run goes on.
                size = min(size, _size(rounds))
            time.sleep(0.0002 if when == "writing" else 0.002)
        if when == "loading":
            with contextlib.suppress(psutil.NoSuchProcess):
                main = psutil.Process(process.pid)
                # Not every decoder has one.
                while process.poll() is None and not (
                    count_lines(records) > before or draft_processes(main)
                ):
                    time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.chance.random() * SECONDS.get(when, 0.0))
        return False

    def _doing(
        self,
        main: psutil.Process,
        everyone: Sequence[psutil.Process],
        records: Path,
        before: int,
        prompts: int,
    ) -> str:
        """What a run is at that began with ``before`` records, as far as it shows from outside."""
        ours = " ".join(main.cmdline())
        done = count_lines(records)
        commands = []
        for one in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                commands.append(" ".join(one.cmdline()))
        if any(_SANDBOX in command for command in commands):
            return "scoring"
        if done >= prompts:
            return "the end, W&B" if self._tracked else "the end"
        if not draft_processes(main):
            return "start" if ours else "ended"
        return "decoding" if done > before else "loading"

    @contextlib.contextmanager
    def _started(self, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env=os.environ
            | {_MARK: self.mark, "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def _left(self) -> list[str]:
        mark = f"{_MARK}={self.mark}".encode()
        left = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                # Sandboxes have an environment of their own; those in use have a parent.
                orphan = (folder / "stat").read_text().rpartition(") ")[2].split()[1] == "1"
                sandbox = orphan and _SANDBOX.encode() in command
                if sandbox or mark in (folder / "environ").read_bytes().split(b"\0"):
                    left.append(f"process {command[:200]!r}")
        left += [f"temporary {path}" for path in self.temporary.iterdir()]
        # joblib's is of other work on this machine: no run here is launched by it.
        fresh = set(os.listdir("/dev/shm")) - self.shared
        left += [f"shared {name}" for name in fresh if "loky" not in name and "joblib" not in name]
        return left + [f"unfinished {path}" for path in self.folder.rglob("*.unfinished")]


def count_lines(path: Path) -> int:
    """How many are complete; none of a file that is not there."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def draft_processes(main: psutil.Process) -> list[psutil.Process]:
    """The processes of a run that were forked to draft."""
    found = []
    for child in main.children():
        # Sandboxes come and go meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "forkserver" in " ".join(child.cmdline()):
                found += child.children()
    return found
