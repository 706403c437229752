"""W&B online, against a stand-in for its server: login, logging, resume, and how failures end."""

from __future__ import annotations

import functools
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import wandb
from small_pair import SmallPair
from tracked import (
    figures,
    logged_records,
    logged_summary,
    offline_runs,
    own_warnings,
    some_records,
    start,
    track,
)
from wandb_server import KEY, StandIn, serving

from pearl_eval.config.schema import TrackingMode
from pearl_eval.tracking import wandb_tracker

online = functools.partial(start, mode=TrackingMode.online)
#: Seconds, where a server does not answer.
SHORT = {"start_timeout": 1.0, "finish_timeout": 1.0}
FILES = {"records.jsonl", "rounds.parquet", "run.json", "summary.json"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving() as stand_in:
        monkeypatch.setenv("WANDB_BASE_URL", stand_in.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        wandb_tracker._unreachable.clear()
        wandb.teardown()  # else it goes on with what it knows of an earlier server
        yield stand_in
        stand_in.released.set()
        wandb.teardown()
    wandb_tracker._unreachable.clear()


def identity(directory: Path) -> str:
    return (directory / "wandb" / "run_id").read_text()


def prompts_of(stand_in: StandIn, run: str) -> list[tuple[int, int]]:
    """Step and number of each logged prompt, in the order they came."""
    rows = stand_in.history[run]
    return [(row["_step"], row["prompt"]) for row in rows if "prompt" in row]


def assert_complete(directory: Path) -> None:
    assert {path.name for path in directory.iterdir()} >= FILES


def test_a_run_arrives_whole(server: StandIn, tmp_path: Path) -> None:
    summary = track(online(tmp_path), tmp_path)
    run = identity(tmp_path)
    assert prompts_of(server, run) == [(i, i) for i in range(5)]
    found, expected = dict(figures(server.summaries[run])), dict(figures(summary))
    assert {name: found.get(name) for name in expected} == expected
    assert server.exit_codes == {run: 0}
    files = server.artifacts[f"evaluation-{run}"]
    assert files == {name: (tmp_path / name).read_bytes() for name in FILES}
    assert {f"run-{run}-rounds", f"run-{run}-worst_prompts"} < set(server.artifacts)
    bucket = server.buckets[run]
    assert (bucket["groupName"], bucket["jobType"]) == ("a-sweep", "evaluation")
    assert bucket["tags"] == ["pearl", "tiny", "humaneval", "synthetic"]


def test_a_run_that_is_continued_is_one_run(server: StandIn, tmp_path: Path) -> None:
    tracker = online(tmp_path)
    for step, record in enumerate(some_records()[:3]):
        tracker.log_prompt(record, step)
    tracker.close(failed=True)
    assert server.exit_codes == {identity(tmp_path): 1}
    server.operations.clear()
    track(online(tmp_path), tmp_path, first=3)
    assert "RunResumeStatus" in server.operations, "else W&B would write over the run"
    assert prompts_of(server, identity(tmp_path)) == [(i, i) for i in range(5)]
    assert server.exit_codes == {identity(tmp_path): 0}
    assert len(server.buckets) == 1


def test_offline_parts_of_a_continued_run_are_synced_into_one(
    server: StandIn, tmp_path: Path
) -> None:
    tracker = start(tmp_path)
    for step, record in enumerate(some_records()[:3]):
        tracker.log_prompt(record, step)
    tracker.close(failed=True)
    summary = track(start(tmp_path), tmp_path, first=3)
    assert not server.operations
    command = [sys.executable, "-m", "wandb", "sync", *map(str, offline_runs(tmp_path))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = identity(tmp_path)
    assert list(server.buckets) == [run]
    assert prompts_of(server, run) == [(i, i) for i in range(5)]
    found, expected = dict(figures(server.summaries[run])), dict(figures(summary))
    assert {name: found.get(name) for name in expected} == expected
    assert set(server.artifacts[f"evaluation-{run}"]) == FILES


@pytest.mark.parametrize("failure", ["error", "hang"])
def test_a_server_that_fails_at_the_start_is_one_warning_and_an_offline_run(
    server: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    server.failure = failure
    first, second = tmp_path / "first", tmp_path / "second"
    summary = track(online(first, **SHORT), first)
    (warning,) = own_warnings(caplog)
    assert "this run is kept offline" in warning
    server.failure = ""
    asked = len(server.operations)
    track(online(second, **SHORT), second)
    assert len(server.operations) == asked, "the sweep's next run waits for no server"
    assert len(own_warnings(caplog)) == 1
    for directory in (first, second):
        (run,) = offline_runs(directory)
        found, expected = dict(figures(logged_summary(run)["summary"])), dict(figures(summary))
        assert {name: found.get(name) for name in expected} == expected
        assert_complete(directory)


@pytest.mark.parametrize("failure", ["error", "hang"])
def test_a_server_that_fails_in_the_middle_is_one_warning_and_costs_no_record(
    server: StandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture, failure: str
) -> None:
    tracker = online(tmp_path, **SHORT)
    tracker.log_prompt(some_records()[0], 0)
    server.failure = failure
    with caplog.at_level(logging.INFO, "pearl_eval"):
        summary = track(tracker, tmp_path, first=1)
    (warning,) = own_warnings(caplog)
    assert "the run's files are complete without it" in warning
    assert_complete(tmp_path)
    wandb.teardown()
    (run,) = tmp_path.glob("wandb/run-*")
    found, expected = dict(figures(logged_summary(run)["summary"])), dict(figures(summary))
    assert {name: found.get(name) for name in expected} == expected
    rows = [r["history"]["item"] for r in logged_records(run) if r["type"] == "history"]
    assert [row["prompt"] for row in rows if "prompt" in row] == list(range(5))


def test_without_an_account_a_run_asked_to_be_online_is_kept_offline(
    server: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    track(online(tmp_path), tmp_path)
    (warning,) = own_warnings(caplog)
    assert "api_key" in warning.lower() or "api key" in warning.lower()
    assert "\n" not in warning
    assert len(offline_runs(tmp_path)) == 1
    assert json.loads((tmp_path / "summary.json").read_text())["prompts"] == 5


def test_no_secret_gets_into_files_nor_to_the_server(
    server: StandIn,
    run_command: Callable[..., tuple[int, str, str]],
    small_pair: SmallPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    token, password = "hf_planted0123456789abcdef", "planted9876543210"
    monkeypatch.setenv("HF_TOKEN", token)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    remote = f"https://me:{password}@example.org/code.git"
    subprocess.run([*git, "remote", "add", "origin", remote], check=True)
    arguments = ("tracking.mode=online", "task.limit=2", "task.max_new_tokens=8")
    code, out, err = run_command("", *small_pair.overrides, *arguments, "hydra.run.dir=run", "-v")
    assert code == 0, err
    run = tmp_path / "run"
    assert server.exit_codes == {identity(run): 0}
    files = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    told = [text.encode() for text in (out, err, caplog.text)]
    assert len(files) > 8
    everything = b"\n".join([*files, *told, *server.received])
    assert b"example.org/code.git" in everything, "W&B records where the code is from"
    found = [secret for secret in (KEY, token, password) if secret.encode() in everything]
    assert found == []


def test_a_long_group_arrives_shortened(server: StandIn, tmp_path: Path) -> None:
    track(online(tmp_path, group="g" * 200), tmp_path)
    (bucket,) = server.buckets.values()
    assert len(bucket["groupName"]) == 128 and bucket["groupName"].startswith("g" * 119 + "-")


def test_white_space_around_the_key_is_no_part_of_it(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", f"{KEY}\n")
    track(online(tmp_path), tmp_path)
    assert server.exit_codes == {identity(tmp_path): 0}


def test_what_is_said_to_be_kept_offline_is(
    server: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    begin = wandb.init

    def fail(*args: object, **kwargs: object) -> object:
        if kwargs["mode"] == "online":
            raise RuntimeError("no such account")
        return begin(*args, **kwargs)

    monkeypatch.setattr(wandb, "init", fail)
    track(online(tmp_path), tmp_path)
    (warning,) = own_warnings(caplog)
    assert "kept offline" in warning and "no such account" in warning
    assert len(offline_runs(tmp_path)) == 1
    caplog.clear()
    wandb_tracker._unreachable.clear()
    monkeypatch.setattr(wandb, "init", lambda *args, **kwargs: 1 / 0)
    online(tmp_path / "none").close(failed=False)
    (warning,) = own_warnings(caplog)
    assert "kept offline" not in warning and "complete without it" in warning
