"""Whatever is killed, whenever: the run that goes on is one that nothing happened to."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills import ROOT, Killer
from program import PROGRAM
from sameness import assert_same
from small_pair import SmallPair

RUNS = {
    "greedy, W&B": ["decoder=pearl", "tracking=wandb", "tracking.mode=offline"],
    "sampling": ["decoder=speculative", "sampling=temperature", "task.samples_per_task=2"],
    "cached reference": ["decoder=pearl", "reference=cached", "reference.folder=reference"],
}
PROMPTS = 30


@pytest.fixture
def killer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Killer]:
    made = Killer(tmp_path, seed=getattr(request, "param", 1))
    yield made
    made.close()


def arguments(pair: SmallPair, kind: str) -> list[str]:
    own = RUNS[kind]
    tracking = [] if "W&B" in kind else ["tracking=none"]
    limit = PROMPTS // 2 if "sampling" in kind else PROMPTS
    return [
        *pair.overrides,
        *own,
        *tracking,
        "task=humaneval_mini",
        f"task.limit={limit}",
        "task.max_new_tokens=40",
    ]


def check(killer: Killer, pair: SmallPair, kind: str, kills: int) -> None:
    command = arguments(pair, kind)
    unbroken = killer.folder / "unbroken"
    if not unbroken.exists():
        subprocess.run(
            [
                PROGRAM,
                *command,
                f"hydra.run.dir={unbroken}",
            ],
            cwd=killer.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
    killer.run(command, kills, PROMPTS)
    assert_same(killer.folder / "run", unbroken)
    assert not killer.left()


@pytest.mark.nightly
def test_a_run_killed_three_times_is_as_an_unbroken_one(
    killer: Killer, small_pair: SmallPair
) -> None:
    check(killer, small_pair, "greedy, W&B", kills=3)


@pytest.fixture(scope="module")
def counted() -> dict[str, Counter[str]]:
    return {"killed": Counter(), "during": Counter()}


@pytest.mark.nightly
@pytest.mark.parametrize("killer", range(10), indirect=True)
def test_ten_kills_lose_and_double_nothing(
    killer: Killer, small_pair: SmallPair, counted: dict[str, Counter[str]]
) -> None:
    check(killer, small_pair, list(RUNS)[killer.seed % len(RUNS)], kills=10)
    print(killer.seed, dict(killer.killed), dict(killer.during), flush=True)
    counted["killed"] += killer.killed
    counted["during"] += killer.during


@pytest.mark.nightly
def test_a_hundred_kills_were_of_each_process_at_each_moment(
    counted: dict[str, Counter[str]],
) -> None:
    """Those of the tests before."""
    killed, during = counted["killed"], counted["during"]
    print(f"killed: {dict(killed)}; amid: {dict(during)}")
    if sum(killed.values()) != 100:
        pytest.skip("not all of them have run")
    assert set(killed) == {"main", "draft", "both"}
    moments = {"start", "loading", "decoding", "writing", "scoring", "the end", "the end, W&B"}
    assert moments <= set(during)
