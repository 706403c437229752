"""Which folders below a sweep's are its runs', wherever it puts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written_run import SUMMARY

from pearl_eval.errors import UserError
from pearl_eval.results.runs import finished_runs, labelled, run_folders, sweep_of
from pearl_eval.shell.resume import Started
from pearl_eval.shell.sweep import table_rows


def write(folder: Path, number: int | None = None, decoder: str = "pearl") -> Path:
    """A finished run; with the number of its job, as Hydra leaves it."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(SUMMARY | {"decoder": decoder}))
    if number is not None:
        (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  job:\n    num: {number}\n")
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "multirun.yaml").touch()
    return tmp_path / "sweep"


def names(sweep: Path) -> list[str]:
    return [str(one.relative_to(sweep)) for one in run_folders(sweep)]


def test_runs_at_any_depth_come_in_launch_order(sweep: Path) -> None:
    write(sweep / "b" / "x", 0)
    write(sweep / "a" / "deep" / "x", 10)
    write(sweep / "a" / "y", 9)
    write(sweep / "c")  # of no known number
    assert names(sweep) == ["b/x", "a/y", "a/deep/x", "c"]


def test_a_folder_that_is_a_number_is_the_jobs(sweep: Path) -> None:
    for name in ("10", "9", "0"):
        write(sweep / name)
    assert names(sweep) == ["0", "9", "10"]


def test_a_benchmarks_folders_are_in_the_order_of_their_names(sweep: Path) -> None:
    """However short the name of a decoder is."""
    for name in ("10-ssd-7", "01-speculative-5", "00-autoregressive", "02-ssd-5"):
        write(sweep / name)
    assert names(sweep) == ["00-autoregressive", "01-speculative-5", "02-ssd-5", "10-ssd-7"]


def test_a_run_may_lie_below_another(sweep: Path) -> None:
    write(sweep / "models" / "a", 1)
    write(sweep / "models" / "a" / "b", 0)
    assert names(sweep) == ["models/a/b", "models/a"]
    assert run_folders(sweep / "models" / "a") == [sweep / "models" / "a"]


@pytest.mark.parametrize(
    "name", ["records.jsonl", "run.json", "summary.json", ".hydra/overrides.yaml"]
)
def test_any_of_its_files_makes_a_run(sweep: Path, name: str) -> None:
    (sweep / "x" / "y" / ".hydra").mkdir(parents=True)
    (sweep / "x" / "y" / name).touch()
    assert names(sweep) == ["x/y"]


def test_other_sweeps_and_what_libraries_leave_are_not_its_runs(sweep: Path) -> None:
    write(sweep / "0")
    write(sweep / "0" / "wandb" / "copy")
    write(sweep / ".submitit" / "copy")
    write(sweep / "other" / "0")
    (sweep / "other" / "multirun.yaml").touch()
    assert names(sweep) == ["0"]
    assert [run.directory for run in finished_runs(sweep / "other")] == [sweep / "other" / "0"]


def test_links_are_followed_and_end(sweep: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    (sweep / "linked").symlink_to(tmp_path / "elsewhere")
    (sweep / "circle").symlink_to(sweep)
    assert names(sweep) == ["linked"]


def test_a_runs_sweep_is_the_nearest_above_it(sweep: Path, tmp_path: Path) -> None:
    run = write(sweep / "a" / "x")
    assert sweep_of(run) == sweep
    (sweep / "a" / "multirun.yaml").touch()
    assert sweep_of(run) == sweep / "a"
    assert sweep_of(write(tmp_path / "alone")) is None


def test_runs_of_one_decoder_are_named_by_what_tells_their_folders_apart(sweep: Path) -> None:
    folders = [
        write(sweep / "a" / "x"),
        write(sweep / "b" / "x"),
        write(sweep / "c", None, "lookahead"),
    ]
    assert [run.label for run in labelled(folders)] == ["pearl (a/x)", "pearl (b/x)", "lookahead"]


def test_where_there_is_none_it_is_said(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run there: no summary.json"):
        finished_runs(sweep)
    (sweep / "a" / "x").mkdir(parents=True)
    (sweep / "a" / "x" / "records.jsonl").touch()
    with pytest.raises(UserError, match="the run there is not finished"):
        finished_runs(sweep)


def test_a_file_of_hydras_that_is_damaged_is_named(sweep: Path) -> None:
    overrides = write(sweep / "0") / ".hydra" / "overrides.yaml"
    overrides.write_text("- decoder=pearl\n- decoder.gamma=5\n")
    assert [row.label for row in table_rows(sweep)] == ["pearl"]
    overrides.write_text("- [")
    with pytest.raises(UserError, match=r"0/\.hydra/overrides\.yaml is damaged: while parsing"):
        table_rows(sweep)
    (sweep / "multirun.yaml").write_text("hydra: {overrides: 1}")
    with pytest.raises(UserError, match=r"multirun\.yaml is damaged: it lacks 'runtime'"):
        Started.read(sweep / "multirun.yaml")
