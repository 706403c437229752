"""What two runs must have in common where one was broken off and continued: all but times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

#: Of a run's figures, those that are times, and what follows from them.
TIMES = """
    tokens_per_second reference_tokens_per_second mean_prompt_tokens_per_second speedup_ci95 speedup
    speedup_of_mean_speeds
    reference_mean_prompt_tokens_per_second wait_fraction_draft wait_fraction_target by_category
    traces peak_memory_bytes environment
    equal_hardware_tokens_per_second equal_hardware_speedup equal_hardware_speedup_ci95
    tokens_per_second_per_device reference_tokens_per_second_per_device
    equal_hardware_tokens_per_second_per_device
"""


def figures(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / "summary.json").read_text())
    own = {name: value for name, value in summary.items() if name not in TIMES.split()}
    return {name: value for name, value in own.items() if "_seconds_" not in name}


def records(folder: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "records.jsonl").read_text().splitlines())
    return [
        {k: v for k, v in line.items() if "seconds" not in k and k != "speedup"} for line in lines
    ]


def rounds(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "rounds.parquet")
    # How many bytes cross depends on the times among them.
    times = [name for name in frame if "seconds" in name or "start" in name or "bytes" in name]
    frame["drafted_ids"], frame["drafted_at"] = (
        frame[name].map(list) for name in ("drafted_ids", "drafted_at")
    )
    return frame.drop(columns=times)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_same(folder: Path, unbroken: Path) -> None:
    assert records(folder) == records(unbroken)
    pd.testing.assert_frame_equal(rounds(folder), rounds(unbroken))
    assert figures(folder) == figures(unbroken)
    assert names(folder) == names(unbroken)
    for path in unbroken.glob("samples.jsonl"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
