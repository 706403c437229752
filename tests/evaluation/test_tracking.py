"""W&B offline: what is logged, and that no failure of it matters."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import wandb
from make_record import make_record
from matplotlib.figure import Figure
from program import PROGRAM
from small_pair import SmallPair
from tracked import (
    CONFIG,
    figures,
    inspect,
    logged_records,
    logged_summary,
    offline_runs,
    own_warnings,
    some_records,
    start,
    track,
)

from pearl_eval.config.schema import TrackingBackend, TrackingMode
from pearl_eval.results.records import read_summary
from pearl_eval.tracking import wandb_tracker
from pearl_eval.tracking.metrics import prompt_metrics
from pearl_eval.tracking.tracker import Tracker
from pearl_eval.tracking.tracking import _mode
from pearl_eval.tracking.wandb_environment import short_name

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.startswith("WANDB_") and one != "WANDB_SERVICE"]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder of a run that was logged offline with at most 7 rounds, and its summary."""
    directory = tmp_path_factory.mktemp("logged")
    (directory / ".hydra").mkdir()
    (directory / ".hydra" / "config.yaml").write_text("seed: 7\n")
    (directory / "private.txt").write_text("not a file of the run's\n")

    with pytest.MonkeyPatch.context() as patch:
        drawn = {"slowest": Figure(), "fastest": Figure()}
        patch.setattr(wandb_tracker, "timelines", lambda directory: drawn)
        summary = track(start(directory, table_rows=7), directory)
    (run,) = offline_runs(directory)
    yield run, summary


def media(run: Path, key: str) -> Any:
    """The file of a logged table or page."""
    path = run / "files" / logged_summary(run)["summary"][key]["path"]
    return json.loads(path.read_text()) if path.suffix == ".json" else path.read_text()


def records_of(run: Path, kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in logged_records(run) if record["type"] == kind]


def test_every_figure_of_the_summary_is_found_under_its_name(
    logged: tuple[Path, dict[str, Any]],
) -> None:
    run, summary = logged
    found = dict(figures(logged_summary(run)["summary"]))
    expected = dict(figures(summary))
    assert "environment.versions.torch" in expected and "by_category.kind 1.speedup" in expected
    assert {name: found.get(name) for name in expected} == expected


class AskedRun:
    """Stands for W&B's run, and notes what it is to log."""

    id = "abc"

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self.logged: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self.artifacts: list[Any] = []
        self.ended: list[int] = []

    def define_metric(self, name: str, **how: Any) -> None:
        pass

    def log(self, content: dict[str, Any], **how: Any) -> None:
        self.logged.append((content, how))

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.mark.parametrize(("metrics", "failed"), [(True, True), (False, False)])
def test_what_wandb_is_asked_for(
    metrics: bool, failed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    run = AskedRun()

    def init(settings: Any, **arguments: Any) -> AskedRun:
        given.append((settings, arguments))
        return run

    monkeypatch.setattr(wandb, "init", init)
    own: dict[str, Any] = {"start_timeout": 11.0, "finish_timeout": 22.0, "tags": ["mine"]}
    tracker = start(tmp_path, system_metrics=metrics, table_rows=2, **own)
    ((settings, arguments),) = given
    assert (settings.init_timeout, settings.finish_timeout) == (11, 22)
    assert settings.x_disable_stats is not metrics
    assert arguments == {
        "project": "pearl-eval",
        "entity": None,
        "group": "a-sweep",
        "name": "pearl-tiny-humaneval",
        "job_type": "evaluation",
        "tags": ["pearl", "tiny", "humaneval", "synthetic", "mine"],
        "config": CONFIG | {"choices": {"decoder": "pearl", "pair": "tiny", "task": "humaneval"}},
        "dir": str(tmp_path),
        "id": (tmp_path / "wandb" / "run_id").read_text(),
        "resume": "allow",
        "mode": "offline",
    }
    record = make_record(3)
    tracker.log_prompt(record, 4)
    points = prompt_metrics(record) | {"prompt": 4}
    assert run.logged == [(points, {"step": 4, "commit": True})]
    summary = {"violations": 2, "prompts": 3, "lossy": 0, "sampling_p_value": None}
    (tmp_path / "a.txt").write_text("a")
    rows = pd.DataFrame({"n": [1, 2, 3], "verdict": ["x", "y", "z"]})
    tracker.finish_audit(summary, rows, [tmp_path / "a.txt"])
    content, _ = run.logged[1]
    assert run.summary == summary and set(content) == {"equivalence", "audit"}
    assert (content["audit"].columns, content["audit"].data) == (
        ["n", "verdict"],
        [[1, "x"], [2, "y"]],
    )
    (artifact,) = run.artifacts
    assert (artifact.name, artifact.type) == ("evaluation-abc", "evaluation")
    assert set(artifact.manifest.entries) == {"a.txt"}
    tracker.close(failed)
    assert run.ended == [int(failed)]


def test_prompts_are_points_over_their_number_and_not_in_the_summary(
    logged: tuple[Path, dict[str, Any]],
) -> None:
    run, _ = logged
    axes = {m.get("glob_name"): m.get("step_metric") for m in records_of(run, "metric")}
    assert axes["prompt/*"] == "prompt"
    rows = [r["item"] for r in records_of(run, "history") if "prompt" in r["item"]]
    assert [(row["_step"], row["prompt"]) for row in rows] == [(i, i) for i in range(5)]
    for row, record in zip(rows, some_records(), strict=True):
        own = {name: value for name, value in row.items() if name.startswith("prompt/")}
        assert own == prompt_metrics(record)
    in_summary = logged_summary(run)["summary"]
    assert not [name for name in in_summary if name == "prompt" or name.startswith("prompt/")]


def test_a_run_is_filed_by_tags_group_and_job_type_with_the_composed_config(
    logged: tuple[Path, dict[str, Any]],
) -> None:
    run, _ = logged
    (record,) = records_of(run, "run")
    assert record["run_group"] == "a-sweep" and record["job_type"] == "evaluation"
    assert record["tags"] == ["pearl", "tiny", "humaneval", "synthetic"]
    config = record["config"]["update"]
    assert {name: config[name] for name in CONFIG} == CONFIG
    assert config["choices"] == {"decoder": "pearl", "pair": "tiny", "task": "humaneval"}


def test_tables_hold_sampled_rounds_and_say_so(logged: tuple[Path, dict[str, Any]]) -> None:
    run, _ = logged
    table = media(run, "rounds")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    # Of 5 prompts with 3 rounds each, every third has all its rounds there.
    assert [row["task_id"] for row in rows] == ["Task/0"] * 3 + ["Task/3"] * 3
    assert rows[1]["drafted_ids"] == "5 6" and rows[1]["drafted_at"] == "1 2"
    # What a decoder decided, too, where it does.
    assert {"at_hand", "awaited", "confidences", "chances"} <= set(table["columns"])
    summary = logged_summary(run)["summary"]
    assert (summary["rounds_in_table"], summary["rounds_total"]) == (6, 15)


def test_pictures_and_the_number_of_violations_are_logged(
    logged: tuple[Path, dict[str, Any]],
) -> None:
    run, _ = logged
    timelines = logged_summary(run)["summary"]["timelines"]
    assert timelines["captions"] == ["slowest", "fastest"]
    assert all((run / "files" / name).stat().st_size for name in timelines["filenames"])
    assert ">0<" in media(run, "equivalence")


def test_a_picture_that_fails_takes_nothing_else_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(directory: Path) -> dict[str, Figure]:
        raise RuntimeError("no ink")

    monkeypatch.setattr(wandb_tracker, "timelines", fail)
    summary = track(start(tmp_path), tmp_path)
    assert not own_warnings(caplog)
    (run,) = offline_runs(tmp_path)
    assert logged_summary(run)["summary"]["speedup"] == summary["speedup"]
    assert media(run, "worst_prompts")["data"]


def test_an_artifact_has_the_files_of_the_run_and_no_other(
    logged: tuple[Path, dict[str, Any]],
) -> None:
    run, _ = logged
    (artifact,) = (a for a in records_of(run, "artifact") if a["type"] == "evaluation")
    contents = artifact["manifest"]["contents"]
    names = {".hydra/config.yaml", "records.jsonl", "rounds.parquet", "run.json", "summary.json"}
    assert {entry["path"] for entry in contents} == names
    assert {entry["local_path"] for entry in contents} == {
        str(run.parent.parent / name) for name in names
    }


def test_a_continued_run_is_the_same_run_and_repeats_no_step(tmp_path: Path) -> None:
    first = tmp_path / "run"
    tracker = start(first)
    for step, record in enumerate(some_records()[:3]):
        tracker.log_prompt(record, step)
    tracker.close(failed=True)
    moved = tmp_path / "elsewhere"
    shutil.move(first, moved)
    track(start(moved), moved, first=3)
    runs = offline_runs(moved)
    identities = {logged_summary(run)["run_id"] for run in runs}
    assert len(runs) == 2 and len(identities) == 1
    rows = [record["item"] for run in runs for record in records_of(run, "history")]
    prompts = [(row["_step"], row["prompt"]) for row in rows if "prompt" in row]
    assert prompts == [(i, i) for i in range(5)]


@pytest.mark.slow
def test_a_run_that_was_killed_and_is_continued_is_one_run(tmp_path: Path) -> None:
    """Killed a moment after its third prompt, with no time to say goodbye."""
    script = (
        "import sys, time; from pathlib import Path; from tracked import some_records, start\n"
        "tracker = start(Path(sys.argv[1]))\n"
        "for step, record in enumerate(some_records()[:3]): tracker.log_prompt(record, step)\n"
        "time.sleep(3); print('logged', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    child = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1] / "helpers",
        # A service of its own: that of this process would go on with the run.
        env={k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout and child.stdout.readline() == "logged\n"
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    summary = track(start(tmp_path), tmp_path, first=3)
    runs = offline_runs(tmp_path)
    assert len(runs) == 2 and len({logged_summary(run)["run_id"] for run in runs}) == 1
    rows = [record["item"] for run in runs for record in records_of(run, "history")]
    assert [(row["_step"], row["prompt"]) for row in rows if "prompt" in row] == [
        (i, i) for i in range(5)
    ]
    found, expected = dict(figures(logged_summary(runs[-1])["summary"])), dict(figures(summary))
    assert {name: found.get(name) for name in expected} == expected


def test_another_run_in_a_folder_of_the_same_name_is_another(tmp_path: Path) -> None:
    identities = set()
    for _ in range(2):
        start(tmp_path / "run").close(failed=False)
        identities.add((tmp_path / "run" / "wandb" / "run_id").read_text())
        shutil.rmtree(tmp_path / "run")
    assert len(identities) == 2


def test_the_environment_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", "mine")
    tracker = start(tmp_path)
    assert os.environ["WANDB_DATA_DIR"] == str(tmp_path / "wandb")
    tracker.close(failed=False)
    assert os.environ["WANDB_DATA_DIR"] == "mine"


def test_a_failure_at_the_end_is_one_warning_and_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("the disk of W&B is full")

    tracker = start(tmp_path)
    monkeypatch.setattr("pearl_eval.tracking.metrics.sampled_rounds", fail)
    with caplog.at_level(logging.WARNING, "pearl_eval"):
        track(tracker, tmp_path)
    (warning,) = own_warnings(caplog)
    assert "summary failed" in warning and "the disk of W&B is full" in warning
    (run,) = offline_runs(tmp_path)
    assert logged_summary(run)["state"] == "finished"


def services() -> list[psutil.Process]:
    """W&B's services of this process; not those that have ended."""
    children = psutil.Process().children()
    alive = [one for one in children if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in alive if one.name() == "wandb-core"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("when", ["logging", "the end", "W&B learns of its end"])
def test_a_service_that_hangs_is_one_warning_and_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    monkeypatch.setattr("pearl_eval.tracking.wandb_tracker._MARGIN", 1.0)
    if when == "W&B learns of its end":
        tear_down = wandb.teardown

        def tear_down_and_exit() -> None:
            with contextlib.suppress(BaseException):
                tear_down()
            sys.exit(-9)  # as it does where the service is not reaped by then

        monkeypatch.setattr(wandb, "teardown", tear_down_and_exit)
    tracker = start(tmp_path, finish_timeout=1)
    (service,) = services()
    service.suspend()
    record = make_record()
    try:
        with caplog.at_level(logging.WARNING, "pearl_eval"):
            # So many that what it has not read fills the pipe to it.
            for step in range(2000 if when == "logging" else 1):
                tracker.log_prompt(record, step)
            tracker.close(failed=False)
        deadline = time.monotonic() + 10
        while services() and time.monotonic() < deadline:
            time.sleep(0.1)  # one that was killed takes a moment to be gone
        assert not services()
    finally:
        for one in services():
            one.kill()  # or this process would wait for it at its end
    (warning,) = own_warnings(caplog)
    assert ("log failed" if when == "logging" else "finish failed") in warning
    assert "no answer within 2 s" in warning
    # The next run of the process has another.
    (tmp_path / "next").mkdir()
    track(start(tmp_path / "next"), tmp_path / "next")
    (run,) = offline_runs(tmp_path / "next")
    assert logged_summary(run)["state"] == "finished"


@pytest.mark.slow
def test_an_offline_sweep_can_be_read_back(tmp_path: Path, small_pair: SmallPair) -> None:
    command = [
        PROGRAM,
        "-m",
        "decoder=autoregressive,pearl",
    ]
    arguments = ["task.limit=3", "task.max_new_tokens=8", "hydra.sweep.dir=sweep"]
    overrides = [*small_pair.overrides, "tracking.mode=offline"]
    done = subprocess.run(
        [*command, *overrides, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for number in ("0", "1"):
        run = tmp_path / "sweep" / number
        (offline,) = offline_runs(run)
        found = dict(figures(logged_summary(offline)["summary"]))
        expected = dict(figures(read_summary(run)))
        assert {name: found.get(name) for name in expected} == expected
        assert found["timelines.count"] == 1
        assert found["rounds.nrows"] == len(pd.read_parquet(run / "rounds.parquet"))
        records = inspect(offline)
        assert f'"{tmp_path.name}-sweep"' in records, "runs of one sweep share its group"
        assert "_target_" in records, "the config is as Hydra composed it"


def test_a_wandb_that_fails_is_one_warning(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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
    ("backend", "mode", "variable"),
    [
        (TrackingBackend.wandb, TrackingMode.disabled, "offline"),
        (TrackingBackend.wandb, None, "disabled"),
        (TrackingBackend.none, TrackingMode.offline, "offline"),
    ],
)
def test_none_and_disabled_log_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: TrackingBackend,
    mode: TrackingMode | None,
    variable: str,
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    assert type(start(tmp_path, mode, backend=backend)) is Tracker
    assert not list(tmp_path.iterdir())


def logged_run(directory: Path) -> dict[str, Any]:
    """What the log of a run's only attempt says of it."""
    (run,) = offline_runs(directory)
    (record,) = records_of(run, "run")
    return record


@pytest.mark.parametrize("space", ["\n", " "])
def test_white_space_around_a_key_costs_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, space: str
) -> None:
    wandb.teardown()  # or it has read the environment already
    key = "0" * 40 + space
    monkeypatch.setenv("WANDB_API_KEY", key)
    tracker = start(tmp_path)
    assert os.environ["WANDB_API_KEY"] == "0" * 40
    tracker.close(failed=False)
    assert os.environ["WANDB_API_KEY"] == key
    monkeypatch.delenv("WANDB_API_KEY")  # or what reads the log would trip over it
    assert logged_run(tmp_path)["project"] == "pearl-eval" and not own_warnings(caplog)


def test_what_wandb_would_refuse_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wandb.teardown()
    refused = {"WANDB_PROJECT": "a/b", "WANDB_MODE": "sometimes", "WANDB_BASE_URL": "nowhere"}
    refused |= {"WANDB_HTTP_TIMEOUT": "soon"}
    for name, value in refused.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_TAGS", f"mine,,{'x' * 70}, pearl ")
    start(tmp_path, mode=None).close(failed=False)
    assert {name: os.environ[name] for name in refused} == refused
    for name in (*refused, "WANDB_TAGS"):
        monkeypatch.delenv(name)  # or what reads the log would trip over them
    run = logged_run(tmp_path)
    assert run["project"] == "pearl-eval"
    assert run["tags"] == ["pearl", "tiny", "humaneval", "synthetic", "mine", "x" * 64]
    warned = own_warnings(caplog)
    assert sorted(one.split(" is not used, since W&B")[0] for one in warned) == sorted(refused)


def test_what_is_null_is_left_to_the_variables_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb.teardown()
    said = {"PROJECT": "theirs", "ENTITY": "team", "RUN_GROUP": "night", "NAME": "one"}
    said |= {"JOB_TYPE": "nightly", "NOTES": "a note", "TAGS": "a,b", "DIR": str(tmp_path / "w")}
    for name, value in said.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    run = tmp_path / "run"
    run.mkdir()
    start(run, mode=None).close(failed=False)
    assert not offline_runs(run)
    logged = logged_run(tmp_path / "w")
    found = [logged[name] for name in ("project", "entity", "run_group", "display_name")]
    assert found == ["theirs", "team", "night", "one"]
    assert (logged["job_type"], logged["notes"]) == ("nightly", "a note")
    assert logged["tags"] == ["pearl", "tiny", "humaneval", "synthetic", "a", "b"]
    # What the configuration says counts before.
    theirs = offline_runs(tmp_path / "w")
    start(tmp_path, project="ours", group="day", entity="me").close(failed=False)
    # Both may be of the same second, by which their names are sorted.
    (new,) = set(offline_runs(tmp_path / "w")) - set(theirs)
    ours = inspect(new)
    assert '"ours"' in ours and '"day"' in ours and '"theirs"' not in ours


def test_a_folder_of_wandbs_that_can_not_be_written_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_DIR", "/proc/nowhere")
    start(tmp_path).close(failed=False)
    assert logged_run(tmp_path) and "WANDB_DIR=/proc/nowhere can't" in own_warnings(caplog)[0]


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        (None, "offline"), ("", "offline"), ("online", "online"), (" Offline\n", "offline"),
        ("run", "online"), ("dryrun", "offline"), ("disabled", "disabled"), ("shared", "shared"),
        ("sometimes", "offline"),
    ],
)  # fmt: skip
def test_what_wandbs_mode_means(
    said: str | None, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        monkeypatch.setenv("WANDB_MODE", said)
    assert _mode() == mode


@pytest.mark.parametrize(("length", "kept"), [(128, True), (129, False)])
def test_long_groups_are_shortened_and_stay_apart(
    caplog: pytest.LogCaptureFixture, length: int, kept: bool
) -> None:
    names = ["x" * (length - 1) + end for end in "ab"]
    short = [short_name(name, "group") for name in names]
    assert (short == names) == kept and bool(own_warnings(caplog)) != kept
    assert {len(name) for name in short} == {128} and len({*short}) == 2
    assert short_name(names[0], "group") == short[0]
