"""Several runs of a sweep at once on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from pearl_eval.config.registry import register

Run = Callable[..., tuple[int, str, str]]


def time_of_run(folder: Path) -> tuple[datetime, datetime]:
    """From when a run knew its cores until its last prompt."""
    log = (folder / "pearl-eval.log").read_text()
    times = re.findall(r"^\[([^]]+)\]\[pearl_eval.evaluation.evaluation\]", log, flags=re.MULTILINE)
    begin, *_, end = (datetime.strptime(one, "%Y-%m-%d %H:%M:%S,%f") for one in times)
    return begin, end


@pytest.mark.nightly
def test_runs_at_once_never_share_a_core(run_cli: Run, tmp_path: Path) -> None:
    core = ("runtime.target_cores=[0]", "runtime.draft_cores=[0]")
    workers = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    # So long that they would run at once, although one starts before the other.
    long = ("task.limit=8", "task.max_new_tokens=160", "protocol=paper", "hydra.sweep.dir=sweep")
    code, out, err = run_cli("-m", "decoder=speculative,pearl", *core, *workers, *long)
    assert code == 0, err
    assert out.count("identical 8/8") == 2
    first, second = sorted(time_of_run(tmp_path / "sweep" / name) for name in "01")
    assert first[1] < second[0]


@pytest.mark.parametrize(
    ("asked", "at_once"),
    [("target_threads=1", 4), ("target_threads=999", 1), ("cores=[0,1,2,3]", 2)],
)
def test_as_many_runs_at_once_as_have_cores_of_their_own(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, asked: str, at_once: int
) -> None:
    monkeypatch.setattr("decoders.process.placement.available_cores", lambda: list(range(8)))
    code, out, err = run_cli("--cfg=all", "--resolve", "hydra/launcher=joblib", f"runtime.{asked}")
    assert code == 0, err
    assert f"n_jobs: {at_once}\n" in out


def test_as_many_runs_at_once_as_have_gpus_of_their_own(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    for gpus, at_once in (("null", 2), ("[0,1,2,3]", 1)):
        own = ("hydra/launcher=joblib", "pair=llama2_7b_70b", f"runtime.gpus={gpus}")
        code, out, err = run_cli("--cfg=all", "--resolve", *own, small_pair=False)
        assert code == 0, err
        assert f"n_jobs: {at_once}\n" in out


@pytest.mark.parametrize(
    ("launcher", "plugin"), [("joblib", "joblib"), ("slurm_a100", "submitit_slurm")]
)
def test_without_the_extra_it_is_named(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, launcher: str, plugin: str
) -> None:
    register()
    monkeypatch.setattr("pearl_eval.config.registry._default_joblib", lambda: None)
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{plugin}.yaml")
    code, _, err = run_cli("-m", f"hydra/launcher={launcher}", "decoder=pearl,speculative")
    assert code == 2 and f"'hydra/launcher/{plugin}'" in err and len(err.splitlines()) == 1
    assert "it comes with an extra: pip install --editable '.[cluster]'" in err
