"""Sweeps: folders of one's own, jobs that can't be, runs that fail of whatever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher

Run = Callable[..., tuple[int, str, str]]
SHORT = ("task.limit=1", "task.max_new_tokens=4", "hydra.sweep.dir=sweep")
TWO = ("-m", "decoder=speculative,autoregressive", *SHORT)
NESTED = "hydra.sweep.subdir='${hydra.runtime.choices.decoder}/x'"


def launcher() -> type[Launcher]:
    """The class that Hydra takes to launch jobs one after the other: a copy of its own."""
    name = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    return Plugins.instance().class_name_to_class[name]


def test_runs_in_folders_of_folders_are_found_by_everything(
    run_cli: Run, run_command: Run, tmp_path: Path
) -> None:
    code, out, err = run_cli(*TWO, NESTED, "reference=cached")
    assert code == 0 and out.count("identical 1/1") == 2, err
    # In launch order, which is not that of their names.
    assert out.index("sweep/speculative/x") < out.index("sweep/autoregressive/x")
    assert len(list(tmp_path.glob("sweep/reference/*/reference.jsonl"))) == 1
    assert not list(tmp_path.glob("sweep/*/*/reference"))
    code, table, _ = run_command("table", "sweep")
    assert code == 0 and table.splitlines()[1:] == out.splitlines()[1:]
    code, out, err = run_command("tables", "sweep")
    assert "1.00×" in out or "no table" in err or "speculative" in out, err
    run = tmp_path / "sweep" / "speculative" / "x"
    (run / "summary.json").unlink()
    code, _, err = run_cli("resume=sweep/speculative/x", small_pair=False)
    assert code == 2 and "rounds.jsonl is missing" in err
    code, out, err = run_cli("resume=sweep", small_pair=False)
    assert code == 1 and out.count("identical 1/1") == 1 and "failed: " in out
    assert err.count("this run is there already") == 1


def test_a_run_below_a_sweep_is_continued_by_its_own_folder(run_cli: Run, tmp_path: Path) -> None:
    """And shares the sweep's cached reference."""
    assert run_cli(*TWO, NESTED, "reference=cached")[0] == 0
    run = tmp_path / "sweep" / "speculative" / "x"
    for name in ("summary.json", "records.jsonl", "rounds.parquet", "run.json"):
        (run / name).unlink()
    code, out, err = run_cli("resume=sweep/speculative/x", small_pair=False)
    assert code == 0 and "identical 1/1" in out, err
    assert len(list(tmp_path.glob("sweep/**/reference.jsonl"))) == 1


REFUSED = {
    "hydra.sweep.subdir=same": "is the folder of run 0 and of run 1: each needs one of its own",
    "hydra.sweep.subdir=/tmp/elsewhere": "is not below hydra.sweep.dir",
    "hydra.sweep.subdir=../elsewhere/${hydra.job.num}": "is not below hydra.sweep.dir",
    "hydra.sweep.subdir=.": "is not below hydra.sweep.dir",
    "hydra.sweep.subdir=${nothing}": "hydra.sweep.subdir: Interpolation key 'nothing' not found",
    f"hydra.sweep.subdir={'x' * 256}": "a folder's name may have 255 bytes, and this has 256",
    "gamma=5": "there is no setting gamma: did you mean decoder.gamma?",
    "+gamma=5": "there is no setting gamma: did you mean decoder.gamma?",
    "+gamma=5,6": "there is no setting gamma: did you mean decoder.gamma?",
    "decoder.gama=5,6": "decoder.gama: Key 'gama' not in 'Speculative' (its fields: gamma)",
    "decoder.gamma=5": "decoder.gamma: Key 'gamma' not in 'Autoregressive' (its fields: none)",
}


@pytest.mark.parametrize(("argument", "message"), REFUSED.items(), ids=[k[:40] for k in REFUSED])
def test_jobs_that_can_not_be_are_refused_before_any_runs(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, message: str
) -> None:
    monkeypatch.setattr(launcher(), "launch", pytest.fail)
    code, out, err = run_cli(*TWO, argument)
    assert code == 2 and message in err and len(err.splitlines()) == 1 and not out, err
    assert not list(tmp_path.glob("sweep/*/"))


def test_a_name_of_255_bytes_is_a_folders(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher(), "launch", lambda *args, **kwargs: [])
    _, _, err = run_cli(*TWO, f"hydra.sweep.subdir={'x' * 254}${{hydra.job.num}}")
    assert "may have" not in err


def fails(error: BaseException) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        (
            "pearl_eval.commands.run._evaluate",
            ImportError("No module named 'tasks.task'"),
            "'tasks.task'",
        ),
        ("pearl_eval.commands.run._write_config", OSError(28, "No space left"), "No space left"),
        ("pearl_eval.shell.command.refuse_credentials", ValueError("odd"), "odd"),
        ("pearl_eval.commands.run._evaluate", SystemExit(7), "ended the program, with exit code 7"),
    ],
)
def test_every_run_that_fails_has_its_line_whatever_failed(
    run_cli: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: BaseException,
    said: str,
) -> None:
    monkeypatch.setattr(where, fails(error))
    code, out, err = run_cli(*TWO)
    assert code == 1
    for number, decoder in enumerate(("speculative", "autoregressive")):
        assert f"error: {decoder}: " in err and "Traceback" not in err
        assert said in (tmp_path / f"sweep/{number}/error.txt").read_text().splitlines()[0]
    lines = [line for line in out.splitlines() if "failed: " in line]
    assert len(lines) == 2 and all(said in line for line in lines)
    assert [line.partition(":")[0] for line in lines] == ["speculative", "autoregressive"]


def test_of_a_sweep_that_is_broken_off_what_has_finished_is_shown(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch: Any = launcher().launch

    def launch_one(self: Launcher, jobs: Any, initial_job_idx: int) -> Any:
        launch(self, jobs[:1], initial_job_idx)
        raise RuntimeError("a worker was killed")

    monkeypatch.setattr(launcher(), "launch", launch_one)
    code, out, err = run_cli(*TWO)
    assert (code, err.splitlines()[-1:]) == (2, ["pearl-eval: error: a worker was killed"]), out
    assert "pearl-eval: resume=sweep goes on with what is not finished" in err
    assert out.startswith("Sweep sweep, broken off") and out.count("identical 1/1") == 1


def test_a_benchs_sweep_that_fails_says_so(run_bench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pearl_eval.bench.benchmark.Benchmark", fails(OSError("no bench")))
    code, _, err = run_bench("-m", "seed=0,1", "hydra.sweep.dir=sweep")
    assert code == 2 and "no bench" in err.splitlines()[-1]


def test_a_damaged_summary_is_no_reason_to_hide_the_others(run_cli: Run, tmp_path: Path) -> None:
    assert run_cli(*TWO)[0] == 0
    (tmp_path / "sweep" / "0" / "summary.json").write_text("{}")
    code, out, err = run_cli("resume=sweep", small_pair=False)
    assert code in (1, 2) and "summary.json is damaged" in out + err and "Traceback" not in err


def test_a_table_counts_nested_runs_that_failed(
    run_cli: Run, run_command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pearl_eval.commands.run._evaluate", fails(OSError("gone")))
        assert run_cli(*TWO, NESTED)[0] == 1
    code, out, _ = run_command("table", "sweep")
    assert code == 1 and out.count("failed: gone") == 2
    assert "speculative" in out
