"""Runs for a tracker to log, made of records, with no model."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from make_record import make_record

from decoders.round import Round
from pearl_eval.config.schema import Names, TrackingConfig, TrackingMode
from pearl_eval.evaluation.run_files import RunFiles, rounds_frame
from pearl_eval.evaluation.summary import summarize
from pearl_eval.results.records import ROUNDS, Record
from pearl_eval.tracking.tracker import TrackedRun, Tracker
from pearl_eval.tracking.tracking import make_tracker

NAMES = Names("pearl", "tiny", "humaneval")
SCHEDULE = {"_target_": "decoders.schedule.Parallel", "gamma": 4}
CONFIG = {"decoder": {"_target_": "decoders.pearl.Pearl", "gamma": 4}, "seed": 7}


def some_records(count: int = 5, **values: Any) -> list[Record]:
    """The first is warm-up, and the later the faster."""
    return [
        make_record(
            i, warmup=i == 0, speedup=1.0 + i, category=f"kind {i % 2}", **MEASURES | values
        )
        for i in range(count)
    ]


#: What a record says of verifications and times.
MEASURES: dict[str, Any] = {
    "verifications": [3, 2],
    "ttft_seconds": 0.25,
    "tpot_seconds": 0.0625,
    "equal_hardware_seconds": 2.0,
    "equal_hardware_new_tokens": 10,
}


def some_rounds(prompts: int, each: int) -> list[dict[str, Any]]:
    """Rows of ``rounds.parquet``."""
    return [
        {"task_id": f"Task/{p}", "sample": 0, "turn": 0, "round": i}
        | {"mode": "pre-verify", "drafted": 2, "judged": 1, "accepted": 1}
        | {"drafted_ids": [5, 6], "drafted_at": [i, i + 1], "start": 0.5 * i}
        for p in range(prompts)
        for i in range(each)
    ]


def summary_of(records: Sequence[Record]) -> dict[str, Any]:
    return summarize(
        records,
        NAMES,
        settings={"gamma": 4},
        about={"idea": "", "overlap": "never", "draft_ends": 0, "schedule": SCHEDULE},
        synthetic=False,
        accuracy_name="pass@1",
        fit=None,
        cost={"seconds": {"draft": 1.5, "target": 2.5}, "joules": None},
        latency={
            f"{name}_seconds_{which}": 0.25
            for name in ("ttft", "tpot", "itl")
            for which in ("p50", "p95", "p99")
        },
        devices={"rule": "own", "decoder": ["core 1", "core 0"], "reference": ["core 1"]},
        traces={"rounds": 15, "by_mode": [{"mode": "pre-verify", "rounds": 15}]},
        facts={"data": {}, "pass_at_k": {"1": 0.5}},
        seed=7,
        reference="inline",
        peak_memory_bytes=1,
        environment={
            "versions": {"torch": "2.13.0"},
            "cpu_count": 2,
            "dtype": "float32",
            "git_commit": None,
            "target_parallel": None,
        },
    )


def start(
    directory: Path, mode: TrackingMode | None = TrackingMode.offline, **values: Any
) -> Tracker:
    config = TrackingConfig(mode=mode, **values)
    return make_tracker(config, TrackedRun(NAMES, CONFIG, ["synthetic"], "a-sweep", directory))


def track(
    tracker: Tracker,
    directory: Path,
    first: int = 0,
    records: Sequence[Record] | None = None,
) -> dict[str, Any]:
    """Log a run as an evaluation does, from prompt ``first`` on; its summary."""
    records = records or some_records()
    for step, record in enumerate(records[first:], first):
        tracker.log_prompt(record, step)
    summary = summary_of(records)
    files = RunFiles(directory, {})
    if not files.records:
        forwards = records[0].target_forwards
        files.append(records[0], [Round("decode", target_seconds=0.1)] * forwards)
    files.write_summary(summary)
    files.close()
    rounds = rounds_frame(some_rounds(len(records), each=3))
    rounds.to_parquet(directory / ROUNDS)
    tracker.finish(summary, records, rounds, files.paths)
    tracker.close(failed=False)
    return summary


def figures(summary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The figures of a summary by their dotted names, without those that do not exist."""
    for name, value in summary.items():
        if isinstance(value, Mapping):
            yield from figures(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value


def own_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the tracker itself warned of."""
    return [r.message for r in caplog.records if r.name.startswith("pearl_eval") and r.levelno > 20]


def offline_runs(directory: Path) -> list[Path]:
    return sorted(directory.glob("wandb/offline-run-*"))


@functools.cache
def inspect(directory: Path, *flags: str) -> str:
    """What ``wandb leet`` reads in the file of a run that is over."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *flags, "--json"]
    done = subprocess.run([*command, str(directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def logged_summary(directory: Path) -> dict[str, Any]:
    return json.loads(inspect(directory, "--summary"))


def logged_records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in inspect(directory).splitlines()]
