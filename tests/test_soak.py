"""A run of hours is as fast and as small at its end as at its beginning."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from soak import drift, slope, soak

SECONDS = float(os.environ.get("PEARL_EVAL_SOAK_SECONDS", 7200))
#: What a run keeps of each prompt for its summary is no leak: some 10 KiB of maybe 10,000 an hour.
MOST_PER_HOUR = 100.0
#: By how much the files' bytes per prompt may differ between the halves: texts differ in length.
FILES = 0.25


@pytest.mark.nightly
@pytest.mark.timeout(SECONDS + 300)
def test_a_long_run_neither_grows_nor_slows_down(tmp_path: Path) -> None:
    found = soak(tmp_path, SECONDS)
    print(json.dumps(asdict(found), indent=1))
    assert not found.left
    for grown in found.memory_slope.values():
        assert grown.low < MOST_PER_HOUR
    assert found.speedup.change > found.speedup.low - 0.01
    for first, second in found.bytes_per_prompt.values():
        assert second == pytest.approx(first, rel=FILES)


def test_a_leak_and_a_slowdown_are_found() -> None:
    chance = np.random.default_rng(1)
    hours = [step / 100 for step in range(200)]
    leak = slope(hours, [300 + 200 * hour + chance.normal() for hour in hours])
    flat = slope(hours, [300 + chance.normal() for _ in hours])
    assert leak.low > 190 and flat.low < 0 < flat.high
    problems = [str(number % 60) for number in range(1200)]
    steady = [1.5 + 0.01 * int(name) + 0.1 * chance.normal() for name in problems]
    slowing = [one * (1 - 0.05 * number / 1200) for number, one in enumerate(steady)]
    same, slower = drift(problems, steady), drift(problems, slowing)
    assert same.low <= same.change <= same.high
    assert slower.change < slower.low
