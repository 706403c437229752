"""A long run on the tiny pair, looked at from outside: memory, speed and files over time.

``python tests/helpers/soak.py FOLDER SECONDS`` prints the figures.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from kills import ROOT, count_lines, draft_processes
from program import PROGRAM
from scipy.stats import theilslopes

from pearl_eval.config.paths import task_data
from pearl_eval.results.records import RECORDS, read_lines

#: More problems than are solved in a second.
PROBLEMS_PER_SECOND = 12
SAMPLE_SECONDS = 2.0
#: Until then a process still grows to its working size: the part of the time not looked at.
SETTLING = 0.25
#: The old run and a fresh one take turns so often, each for so many seconds.
TURNS, TURN_SECONDS = 30, 5.0
#: Prompts of the fresh run before that.
SETTLED_PROMPTS = 20
SHUFFLES = 2000
#: A run has so long to read its many problems and to begin, in seconds.
START_SECONDS = 900
#: The processes have so long to end when asked to, in seconds.
END_SECONDS = 60
MIB = 2**20


@dataclass(frozen=True)
class Slope:
    """Growth in an hour, with its 95 % interval."""

    per_hour: float
    low: float
    high: float


@dataclass(frozen=True)
class Drift:
    """An old run's tokens/s over a fresh one's, less 1; what chance alone makes of it (95 %)."""

    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Soak:
    """What a long run showed. Memory in MiB, ``bytes_per_prompt`` of the first and second half."""

    minutes: float
    prompts: int
    memory: dict[str, float]
    memory_slope: dict[str, Slope]
    tokens_per_second: float
    drift: Drift
    bytes_per_prompt: dict[str, tuple[float, float]]
    left: list[str]


@dataclass(frozen=True)
class Sample:
    """What is seen at one moment: the processes' memory and the files' sizes, in bytes."""

    seconds: float
    memory: dict[str, int]
    sizes: dict[str, int]
    prompts: int


#: A prompt's problem and its tokens/s.
Speed = tuple[str, float]


def soak(folder: Path, seconds: float) -> Soak:
    """Decode for so long with PEARL, compare with a fresh run, then interrupt both by Ctrl-C."""
    data = folder / "problems.jsonl"
    _write_problems(data, int(seconds * PROBLEMS_PER_SECOND) + 10_000)
    with _started(data, folder / "run") as process:
        samples = _watch(process, folder / "run", seconds)
        assert process.poll() is None, process.communicate()[1]
        # What took so long to see is kept, whatever comes of the rest.
        (folder / "samples.json").write_text(json.dumps([asdict(one) for one in samples]))
        _suspend(psutil.Process(process.pid))
        with _started(data, folder / "fresh") as fresh:
            sides = {folder / "run": process.pid, folder / "fresh": fresh.pid}
            aged = drift(take_turns(sides))
            left = _interrupt(fresh)
        _resume(psutil.Process(process.pid))
        left += _interrupt(process)
    return _figures(samples, folder / "run", aged, left)


@contextlib.contextmanager
def _started(data: Path, run: Path) -> Iterator[subprocess.Popen[str]]:
    command = ["decoder=pearl", "task=humaneval_mini", "tracking=none", f"task.data={data}"]
    # Both have the same cores, by turns.
    command.append("runtime.share_devices=true")
    process = subprocess.Popen(
        [PROGRAM, *command, f"hydra.run.dir={run}"],
        cwd=run.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Who is started in the background may have been told to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        yield process
    finally:
        # Those that are stopped would not notice the end of the first.
        with contextlib.suppress(psutil.NoSuchProcess):
            _each(psutil.Process(process.pid).children(recursive=True), psutil.Process.kill)
        process.kill()


def _interrupt(process: subprocess.Popen[str]) -> list[str]:
    """End a run; what of its processes is left."""
    everyone = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=END_SECONDS)
    assert process.returncode == 130, err
    _, alive = psutil.wait_procs(everyone, timeout=END_SECONDS)
    return [str(one) for one in alive]


def take_turns(sides: dict[Path, int]) -> list[tuple[list[Speed], list[Speed]]]:
    """The speeds of two runs, of which one is stopped while the other decodes: turn by turn.

    ``sides`` are their folders and main processes; the first is stopped already, the second new.
    """
    old, fresh = sides
    deadline = time.monotonic() + START_SECONDS
    while _prompts(fresh) < SETTLED_PROMPTS:
        assert time.monotonic() < deadline, "the fresh run does not begin"
        time.sleep(0.5)
    processes = {run: psutil.Process(pid) for run, pid in sides.items()}
    _suspend(processes[fresh])
    turns: dict[Path, list[tuple[int, int]]] = {run: [] for run in sides}
    for turn in range(TURNS):
        for run in (old, fresh) if turn % 2 else (fresh, old):
            first = _prompts(run)
            _resume(processes[run])
            time.sleep(TURN_SECONDS)
            # The prompt that was being decoded when it was last stopped does not count.
            turns[run].append((first + 1, _prompts(run)))
            _suspend(processes[run])
    for run in sides:
        _resume(processes[run])
    speeds = {run: _speeds(run) for run in sides}
    return [
        (speeds[old][slice(*mine)], speeds[fresh][slice(*other)])
        for mine, other in zip(turns[old], turns[fresh], strict=True)
    ]


def _suspend(main: psutil.Process) -> None:
    _each([main, *main.children(recursive=True)], psutil.Process.suspend)


def _resume(main: psutil.Process) -> None:
    _each([*main.children(recursive=True), main], psutil.Process.resume)


def _each(processes: Sequence[psutil.Process], action: Callable[[psutil.Process], object]) -> None:
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            action(one)


def _prompts(run: Path) -> int:
    return count_lines(run / RECORDS)


def _speeds(run: Path) -> list[Speed]:
    return [
        (str(row["task_id"]).rsplit("/", 1)[0], row["new_tokens"] / row["seconds"])
        for row in read_lines(run / RECORDS)
    ]


def _write_problems(path: Path, number: int) -> None:
    """The task's problems over and over, each time under another name."""
    rows = list(read_lines(Path(task_data("humaneval_mini.jsonl"))))
    with path.open("w") as file:
        for count, row in zip(range(number), itertools.cycle(rows), strict=False):
            name = f"{row['task_id']}/{count // len(rows)}"
            file.write(json.dumps(row | {"task_id": name}) + "\n")


def _watch(process: subprocess.Popen[str], run: Path, seconds: float) -> list[Sample]:
    main = psutil.Process(process.pid)
    begin = time.monotonic()
    samples: list[Sample] = []
    while (now := time.monotonic() - begin) < seconds and process.poll() is None:
        if drafts := draft_processes(main):
            seen = {"main": main, "draft": drafts[0]}
            memory = {name: one.memory_info().rss for name, one in seen.items()}
            sizes = {path.name: path.stat().st_size for path in run.glob("*.jsonl")}
            samples.append(Sample(now, memory, sizes, _prompts(run)))
        time.sleep(SAMPLE_SECONDS)
    return samples


def _figures(samples: list[Sample], run: Path, aged: Drift, left: list[str]) -> Soak:
    end = samples[-1]
    records = [row for row in read_lines(run / RECORDS) if not row["warmup"]]
    settled = [one for one in samples if one.seconds > SETTLING * end.seconds]
    hours = [one.seconds / 3600 for one in settled]
    middle = min(samples, key=lambda one: abs(one.prompts - end.prompts / 2))
    tokens = sum(row["new_tokens"] for row in records)
    return Soak(
        minutes=end.seconds / 60,
        prompts=len(records),
        memory={name: size / MIB for name, size in end.memory.items()},
        memory_slope={
            name: slope(hours, [one.memory[name] / MIB for one in settled]) for name in end.memory
        },
        tokens_per_second=tokens / sum(row["seconds"] for row in records),
        drift=aged,
        bytes_per_prompt={
            name: (
                middle.sizes[name] / middle.prompts,
                (end.sizes[name] - middle.sizes[name]) / (end.prompts - middle.prompts),
            )
            for name in middle.sizes
        },
        left=left,
    )


def slope(hours: list[float], values: list[float]) -> Slope:
    """Theil and Sen's, which single jumps do not bend."""
    found = theilslopes(values, hours)
    return Slope(float(found.slope), float(found.low_slope), float(found.high_slope))


def drift(turns: Sequence[tuple[Sequence[Speed], Sequence[Speed]]]) -> Drift:
    """How an old run's speeds compare with a fresh one's, turn by turn, problem by problem.

    Each two turns are seconds apart, so that a machine that gets slower changes both. The interval
    is that of an A/A test: of each pair chance says which is the old one's.
    """
    every = defaultdict(list)
    for problem, speed in itertools.chain(*itertools.chain(*turns)):
        every[problem].append(np.log(speed))
    usual = {problem: np.mean(logs) for problem, logs in every.items()}

    def typical(speeds: Sequence[Speed]) -> float:
        return float(np.median([np.log(speed) - usual[problem] for problem, speed in speeds]))

    differences = np.array([typical(old) - typical(new) for old, new in turns if old and new])
    signs = np.random.default_rng(0).choice([-1, 1], (SHUFFLES, len(differences)))
    low, high = np.quantile(np.expm1((signs * differences).mean(axis=1)), [0.025, 0.975])
    return Drift(float(np.expm1(differences.mean())), float(low), float(high))


if __name__ == "__main__":
    print(json.dumps(asdict(soak(Path(sys.argv[1]).resolve(), float(sys.argv[2]))), indent=1))
