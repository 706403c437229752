"""A run of hours is as fast and as small at its end as at its beginning."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from soak import Speed, drift, slope, soak

SECONDS = float(os.environ.get("PEARL_EVAL_SOAK_SECONDS", 7200))
#: What a run keeps of each prompt for its summary is no leak: some 10 KiB of maybe 10,000 an hour.
MOST_PER_HOUR = 100.0
#: By how much the files' bytes per prompt may differ between the halves: texts differ in length.
FILES = 0.25


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS + 1800)
def test_a_long_run_neither_grows_nor_slows_down(tmp_path: Path) -> None:
    found = soak(tmp_path, SECONDS)
    print(json.dumps(asdict(found), indent=1))
    assert not found.left
    for grown in found.memory_slope.values():
        assert grown.low < MOST_PER_HOUR
    assert found.drift.change > found.drift.low - 0.01
    for first, second in found.bytes_per_prompt.values():
        assert second == pytest.approx(first, rel=FILES)


def test_a_leak_and_a_slowdown_are_found() -> None:
    chance = np.random.default_rng(1)
    hours = [step / 100 for step in range(200)]
    leak = slope(hours, [300 + 200 * hour + chance.normal() for hour in hours])
    flat = slope(hours, [300 + chance.normal() for _ in hours])
    assert leak.low > 190 and flat.low < 0 < flat.high
    same, slower = drift(turns(chance, 1.0)), drift(turns(chance, 0.95))
    assert same.low <= same.change <= same.high
    assert slower.change < slower.low


def turns(chance: np.random.Generator, aged: float) -> list[tuple[list[Speed], list[Speed]]]:
    """30 turns on a machine that is twice as fast at times; ``aged`` is how fast the old run is."""
    made = []
    for machine in 1 + (np.arange(30) // 10) / 2:
        sides = []
        for factor in (aged, 1.0):
            problems = chance.integers(0, 60, 12)
            noise = chance.normal(0, 0.1, 12)
            speeds = factor * machine * (100 + problems) * np.exp(noise)
            sides.append([(str(one), float(v)) for one, v in zip(problems, speeds, strict=True)])
        made.append((sides[0], sides[1]))
    return made
