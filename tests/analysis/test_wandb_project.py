"""Runs from a W&B project: had back as logged, and how it ends where they can not be had."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import wandb
from tracked import some_records, start, track
from wandb_server import ENTITY, KEY, StandIn, serving
from written_run import write_overrides

from analysis.frames import frame
from analysis.frames.source import load_any
from analysis.frames.wandb_project import download
from pearl_eval.config.schema import TrackingMode
from pearl_eval.errors import UserError
from pearl_eval.tracking import wandb_tracker

PROJECT = f"{ENTITY}/lab"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving() as stand_in:
        monkeypatch.setenv("WANDB_BASE_URL", stand_in.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        wandb_tracker._unreachable.clear()
        wandb.teardown()
        yield stand_in
        wandb.teardown()
    wandb_tracker._unreachable.clear()


def log(directory: Path, project: str = "lab", finished: bool = True) -> Path:
    """A run, logged online."""
    write_overrides(directory, "decoder=pearl")
    tracker = start(directory, TrackingMode.online, project=project)
    if finished:
        track(tracker, directory)
    else:
        tracker.log_prompt(some_records()[0], 0)
        tracker.close(failed=True)
    return directory


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Goes on as another machine would: without what W&B kept of the files while it logged them."""

    def go() -> None:
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        monkeypatch.setenv("WANDB_CACHE_DIR", str(folder / "cache"))
        monkeypatch.setattr(tempfile, "tempdir", str(folder))

    return go


def asked_for(server: StandIn) -> list[str]:
    """The files that were fetched, by their names."""
    lines = [request.decode(errors="replace").splitlines()[0] for request in server.received]
    gone = [line for line in lines if line.startswith("/upload/artifact/")]
    return sorted(line.rpartition("/")[2] for line in gone)


def test_runs_come_back_as_they_were_logged(
    server: StandIn, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    """With the same figures; those that are not finished, or of other projects, do not come."""
    logged = log(tmp_path / "sweep" / "0")
    log(tmp_path / "sweep" / "1", finished=False)
    log(tmp_path / "other", project="another")
    server.received.clear()
    elsewhere()
    found = load_any([f"wandb:{PROJECT}"])
    expected = frame.load([logged])
    pd.testing.assert_frame_equal(
        found.drop(columns=["run", "sweep"]), expected.drop(columns=["run", "sweep"])
    )
    (run,) = map(Path, found["run"])
    assert run == tmp_path / "elsewhere" / "pearl-eval-wandb" / PROJECT / run.name
    files = {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert files == {name: (logged / name).read_bytes() for name in files}
    assert {"records.jsonl", "rounds.parquet", "summary.json", "run.json"} <= set(map(str, files))
    assert Path(".hydra/overrides.yaml") in files
    assert asked_for(server) == sorted(path.name for path in files)
    for part in (frame.prompts, frame.rounds):
        pd.testing.assert_frame_equal(
            part(found).drop(columns="run"), part(expected).drop(columns="run")
        )


def test_a_run_without_files_hides_none_of_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(root: str) -> None:
        Path(root).mkdir()
        (Path(root) / "summary.json").write_text("{}")

    def exists(name: str, type: str) -> bool:
        assert type == "evaluation"
        return name != "me/lab/evaluation-b:latest"

    api = SimpleNamespace(
        runs=lambda project: [SimpleNamespace(id=one) for one in "abc"],
        artifact_exists=exists,
        artifact=lambda name, type: SimpleNamespace(download=fetched),
    )
    monkeypatch.setattr(wandb, "Api", lambda timeout: api)
    assert download("me/lab", tmp_path) == [tmp_path / "a", tmp_path / "c"]


def test_what_is_there_already_is_not_fetched_again(
    server: StandIn, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    log(tmp_path / "run")
    elsewhere()
    (first,) = download(PROJECT, tmp_path / "here")
    assert asked_for(server)
    server.received.clear()
    assert download(PROJECT, tmp_path / "here") == [first]
    assert not asked_for(server)


def test_a_download_that_is_broken_off_is_done_again(
    server: StandIn, tmp_path: Path, elsewhere: Callable[[], None]
) -> None:
    """Whatever came before it was: here all but the records."""
    log(tmp_path / "run")
    elsewhere()
    (path,) = (path for path in server.uploads if path.endswith("/records.jsonl"))
    records = server.uploads.pop(path)
    with pytest.raises(UserError, match="can't be read: 404"):
        download(PROJECT, tmp_path / "here")
    server.uploads[path] = records
    (run,) = download(PROJECT, tmp_path / "here")
    assert (run / "records.jsonl").read_bytes() == records
    assert [one.name for one in (tmp_path / "here").iterdir()] == [run.name]


def test_a_project_without_a_finished_run_is_refused(server: StandIn, tmp_path: Path) -> None:
    log(tmp_path / "run", finished=False)
    with pytest.raises(UserError, match=f"W&B's project {PROJECT} has no finished run"):
        download(PROJECT, tmp_path / "here")


def test_a_project_that_can_not_be_read_is_one_line(server: StandIn, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"W&B's project {PROJECT} can't be read: ") as error:
        download(PROJECT, tmp_path)
    assert "\n" not in str(error.value)
