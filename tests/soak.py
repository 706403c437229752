"""A long run on the tiny pair, looked at from outside: memory, speed and files over time.

``python tests/soak.py FOLDER SECONDS`` prints the figures.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
from kills import ROOT, draft_processes
from scipy.stats import theilslopes

from pearl_eval.paths import task_data
from pearl_eval.records import RECORDS, read_lines

#: More problems than are solved in a second.
PROBLEMS_PER_SECOND = 12
SAMPLE_SECONDS = 2.0
#: Until then a process still grows to its working size: the part of the time not looked at.
SETTLING = 0.25
#: Prompts next to each other that share what the machine was doing.
BLOCK = 10
SHUFFLES = 2000
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
    """Relative change from the first to the last third, and what chance alone makes of it."""

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
    speedup: Drift
    bytes_per_prompt: dict[str, tuple[float, float]]
    left: list[str]


@dataclass(frozen=True)
class Sample:
    """What is seen at one moment: the processes' memory and the files' sizes, in bytes."""

    seconds: float
    memory: dict[str, int]
    sizes: dict[str, int]
    prompts: int


def soak(folder: Path, seconds: float) -> Soak:
    """Decode for so long with PEARL, then interrupt the run as a user would."""
    run = folder / "run"
    data = folder / "problems.jsonl"
    _write_problems(data, int(seconds * PROBLEMS_PER_SECOND) + 100)
    command = ["decoder=pearl", "task=humaneval_mini", "tracking=none", f"task.data={data}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pearl_eval.cli", *command, f"hydra.run.dir={run}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        samples, everyone = _watch(process, run, seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=END_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 130, err
    _, alive = psutil.wait_procs(everyone, timeout=END_SECONDS)
    return _figures(samples, run, [str(one) for one in alive])


def _write_problems(path: Path, number: int) -> None:
    """The task's problems over and over, each time under another name."""
    rows = list(read_lines(Path(task_data("humaneval_mini.jsonl"))))
    with path.open("w") as file:
        for count, row in zip(range(number), itertools.cycle(rows), strict=False):
            name = f"{row['task_id']}/{count // len(rows)}"
            file.write(json.dumps(row | {"task_id": name}) + "\n")


def _watch(
    process: subprocess.Popen[str], run: Path, seconds: float
) -> tuple[list[Sample], list[psutil.Process]]:
    main = psutil.Process(process.pid)
    begin = time.monotonic()
    samples: list[Sample] = []
    while (now := time.monotonic() - begin) < seconds and process.poll() is None:
        if drafts := draft_processes(main):
            seen = {"main": main, "draft": drafts[0]}
            memory = {name: one.memory_info().rss for name, one in seen.items()}
            sizes = {path.name: path.stat().st_size for path in run.glob("*.jsonl")}
            records = run / RECORDS
            prompts = records.read_bytes().count(b"\n") if records.exists() else 0
            samples.append(Sample(now, memory, sizes, prompts))
        time.sleep(SAMPLE_SECONDS)
    return samples, main.children(recursive=True) if process.poll() is None else []


def _figures(samples: list[Sample], run: Path, left: list[str]) -> Soak:
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
        speedup=_drift(records),
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


def _drift(records: list[dict[str, object]]) -> Drift:
    problems = [str(row["task_id"]).rsplit("/", 1)[0] for row in records]
    return drift(problems, [float(str(row["speedup"])) for row in records])


def drift(problems: list[str], speedups: list[float]) -> Drift:
    """How the speedups of the last third compare with those of the first, problem by problem.

    Each is a ratio to the reference run of its prompt, moments before, so that a machine that gets
    slower changes none. The interval is that of an A/A test: the blocks of prompts in an order of
    chance, 95 % of whose changes lie in it.
    """
    logs = np.log(speedups)
    names = np.array(problems)
    for name in set(problems):
        logs[names == name] -= logs[names == name].mean()
    blocks = np.array([part.mean() for part in np.array_split(logs, max(3, len(logs) // BLOCK))])
    third = len(blocks) // 3

    def change(values: np.ndarray) -> float:
        return float(np.expm1(values[-third:].mean() - values[:third].mean()))

    chance = np.random.default_rng(0)
    low, high = np.quantile(
        [change(chance.permutation(blocks)) for _ in range(SHUFFLES)], [0.025, 0.975]
    )
    return Drift(change(blocks), float(low), float(high))


if __name__ == "__main__":
    print(json.dumps(asdict(soak(Path(sys.argv[1]).resolve(), float(sys.argv[2]))), indent=1))
