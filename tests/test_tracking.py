"""W&B offline: what is logged, and that no failure of it matters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_pair import SmallPair

from pearl_eval.config import Names, TrackingBackend, TrackingConfig, TrackingMode
from pearl_eval.tracking import TrackedRun, Tracker, make_tracker

NAMES = Names("pearl", "tiny", "humaneval")
Run = Callable[..., tuple[int, str, str]]


def inspect(run_directory: Path, *flags: str) -> Any:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *flags, "--json"]
    done = subprocess.run([*command, str(run_directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_offline_sweep_can_be_read_back(
    tmp_path: Path, small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "pearl_eval.cli", "-m", "decoder=autoregressive,pearl"]
    arguments = ["task.limit=3", "task.max_new_tokens=8", "hydra.sweep.dir=sweep"]
    overrides = [*small_pair.overrides, "tracking.mode=offline"]
    done = subprocess.run(
        [*command, *overrides, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for number in ("0", "1"):
        run = tmp_path / "sweep" / number
        (offline,) = run.glob("wandb/offline-run-*")
        logged = json.loads(inspect(offline, "--summary"))
        text = json.dumps(logged)
        for name, value in json.loads((run / "summary.json").read_text()).items():
            if value is None:
                continue
            assert f'"{name}"' in text, name
            if isinstance(value, float):
                assert repr(value) in text, name
        records = inspect(offline)
        assert f'"{tmp_path.name}-sweep"' in records, "runs of one sweep share its group"
        assert "_target_" in records, "the config is as Hydra composed it"


def test_a_wandb_that_fails_is_one_warning(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import wandb

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the disk of W&B is full")

    monkeypatch.setattr(wandb, "init", fail)
    code, out, err = run_cli(
        "tracking=wandb", "task.limit=2", "task.max_new_tokens=4", "hydra.run.dir=run"
    )
    assert code == 0
    assert "identical 2/2" in out
    assert err.count("the disk of W&B is full") == 1
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize(
    ("backend", "mode"),
    [
        (TrackingBackend.wandb, TrackingMode.disabled),
        (TrackingBackend.none, TrackingMode.offline),
    ],
)
def test_none_and_disabled_log_nothing(tmp_path: Path, backend: TrackingBackend, mode: str) -> None:
    config = TrackingConfig(backend=backend, mode=mode)
    tracker = make_tracker(config, TrackedRun(NAMES, {}, [], "group", tmp_path))
    assert type(tracker) is Tracker
