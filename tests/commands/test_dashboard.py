"""``pearl-eval dashboard``: what its panels show is logged, and where it saves them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from matplotlib.figure import Figure
from tracked import figures, logged_records, logged_summary, offline_runs, start, track
from wandb_server import ENTITY, KEY, StandIn, serving

from pearl_eval.commands import program
from pearl_eval.commands.dashboard import dashboard
from pearl_eval.tracking import panels, wandb_tracker

#: What W&B itself has of every run.
_BUILT_IN = {"_step", "run:displayName", "createdAt"}


@pytest.fixture(scope="module")
def logged_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """All names that a run has in W&B, as panels refer to them."""
    directory = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wandb_tracker, "timelines", lambda directory: {"slowest": Figure()})
        track(start(directory), directory)
    (run,) = offline_runs(directory)
    names = set()
    for record in logged_records(run):
        names |= set(record.get("history", {}).get("item", {}))
    inspected = logged_summary(run)
    in_summary = {name for name, _ in figures(inspected["summary"])} | set(inspected["summary"])
    config = {name for name, _ in figures(inspected["config"])}
    columns = {f"summary:{name}" for name in in_summary}
    values = {re.sub(r"^([^.]+)", r"\1.value", name) for name in config}
    return names | in_summary | columns | values | _BUILT_IN


def named(node: Any) -> Iterator[str]:
    """The names of metrics, media, tables, columns and groups anywhere in a spec."""
    if isinstance(node, list):
        for item in node:
            yield from named(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("metrics", "mediaKeys", "columnOrder"):
                yield from value
            elif key in ("xAxis", "yAxis"):
                yield value.removeprefix("summary:")
            elif key == "key" and value.get("nodeType") == "const":
                yield value["val"]  # of a table
            elif key == "key":
                yield value["name"]  # of a filter or an order
            elif key == "grouping":
                yield from (group["name"] for group in value)
            else:
                yield from named(value)


def plain(spec: Any) -> Any:
    """A spec without the ids, which differ from build to build."""
    if isinstance(spec, list):
        return [plain(item) for item in spec]
    if isinstance(spec, dict):
        ids = ("__id__", "id", "ref", "name")
        return {key: plain(value) for key, value in spec.items() if key not in ids}
    return spec


def test_each_panel_names_what_runs_really_log(logged_names: set[str]) -> None:
    shown = set(named(panels.spec("", "pearl-eval")))
    assert {"speedup", "violations", "equivalence", "prompt/speedup", "worst_prompts"} <= shown
    assert {"choices.value.task", "choices.value.decoder", "decoder_settings.gamma"} <= shown
    assert shown <= logged_names


def test_the_workspace_shows_what_it_must() -> None:
    sections = panels.spec("", "p")["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    shown = {
        panel["config"].get("chartTitle"): (panel["viewType"], list(named(panel)))
        for section in sections
        for panel in section["panels"]
    }
    speedup = shown["Speedup over the paired autoregressive run"]
    assert speedup == ("Bar Chart", ["speedup"])
    accuracy = shown["Accuracy, beside the reference's"]
    assert accuracy == ("Bar Chart", ["accuracy", "reference_accuracy"])


def test_each_panel_shows_what_its_title_says() -> None:
    sections = panels.spec("", "p")["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    shown = {
        section["name"]: {
            panel["config"].get("chartTitle"): set(named(panel)) for panel in section["panels"]
        }
        for section in sections
    }
    waited = {"wait_fraction_draft", "wait_fraction_target"}
    results = {
        "Acceptance rate": {"acceptance_rate"},
        "Mean accepted tokens": {"mean_accepted_tokens"},
        "Acceptance length": {"acceptance_length"},
        "Tokens per target forward": {"tokens_per_target_forward"},
        "Share of decoding time that each model waited": waited,
        "Tokens per second": {"tokens_per_second", "reference_tokens_per_second"},
        "Speedup over the target alone on equal hardware": {"equal_hardware_speedup"},
    }
    latencies = {
        "Time to the first token, seconds": "ttft",
        "Time per output token, seconds": "tpot",
        "Gaps between outputs, seconds": "itl",
    }
    for title, name in latencies.items():
        results[title] = {f"{name}_seconds_p{which}" for which in (50, 95, 99)}
    assert {title: shown["Results"][title] for title in results} == results
    prompts = {
        "Speedup": {"speedup"},
        "Acceptance rate": {"acceptance_rate"},
        "Mean accepted tokens": {"mean_accepted_tokens"},
        "Acceptance length": {"acceptance_length"},
        "Time to the first token, seconds": {"ttft_seconds"},
        "Time per output token, seconds": {"tpot_seconds"},
        "Waiting": waited,
        "Outputs that are not the target's own": {"violation"},
    }
    expected = {
        title: {"prompt", *(f"prompt/{name}" for name in names)} for title, names in prompts.items()
    }
    assert {title: shown["Prompts"][title] for title in expected} == expected


def test_the_tables_of_the_report_have_what_their_names_say() -> None:
    grids = [one for one in panels.report("", "p").blocks if hasattr(one, "runsets")]
    found = {
        runset.name: [column.removeprefix("summary:") for column in runset.pinned_columns]
        for grid in grids
        for runset in grid.runsets
    }
    name = "run:displayName"
    speeds = [name, "tokens_per_second", "reference_tokens_per_second", "speedup", "speedup_ci95"]
    accepted = ["mean_accepted_tokens", "acceptance_length", "acceptance_rate"]
    lossless = ["violations", "ties", "exact_match_rate", "accuracy", "reference_accuracy"]
    times = [f"{one}_seconds_{p}" for one in ("ttft", "tpot", "itl") for p in ("p50", "p99")]
    assert found == {
        "Speed": speeds,
        "Accepted tokens": [name, *accepted, "tokens_per_target_forward"],
        "Latency": [name, *times],
        "Ablations": speeds,
        "Draft length": ["decoder_settings.gamma", "speedup"],
        "Waiting": [name, "wait_fraction_draft", "wait_fraction_target"],
        "Losslessness": [name, *lossless],
    }


def test_a_project_is_that_of_wandbs_own_variables_unless_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def spec(entity: str, project: str) -> dict[str, str]:
        asked.append((entity, project))
        return {}

    monkeypatch.setattr(panels, "spec", spec)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    monkeypatch.delenv("WANDB_ENTITY", raising=False)
    output = tmp_path / "a.json"
    dashboard(output=output)
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    dashboard(output=output)
    dashboard("mine", "me", output)
    dashboard(entity="", output=output)
    assert asked == [("", "pearl-eval"), ("team", "theirs"), ("me", "mine"), ("", "theirs")]


def test_the_specs_are_written_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    program.main(["dashboard", "--project", "mine", "-o", "mine.json"])
    assert capsys.readouterr().out == "mine.json\n"
    spec = json.loads((tmp_path / "mine.json").read_text())
    assert set(spec) == {"workspace", "report"} and spec["workspace"]["project"] == "mine"
    monkeypatch.setenv("WANDB_MODE", "offline")
    program.main(["dashboard"])
    assert capsys.readouterr().out == "dashboard.json\n"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    wandb.teardown()
    (tmp_path / "dashboard.json").unlink()
    program.main(["dashboard"])
    assert capsys.readouterr().out == "dashboard.json\n", "nor without an account"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving() as stand_in:
        monkeypatch.setenv("WANDB_BASE_URL", stand_in.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "1")
        monkeypatch.delenv("WANDB_MODE", raising=False)
        wandb.teardown()
        yield stand_in
        stand_in.released.set()
        wandb.teardown()


def test_with_an_account_both_are_saved(
    server: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    program.main(["dashboard", "--project", "mine"])
    addresses = capsys.readouterr().out.split()
    assert len(addresses) == 2 and all(f"/{ENTITY}/mine" in address for address in addresses)
    kinds = {view["type"]: json.loads(view["spec"]) for view in server.views}
    assert set(kinds) == {"runs", "project-view"}
    assert {view["projectName"] for view in server.views} == {"mine"}
    spec = panels.spec(ENTITY, "mine")
    assert plain(kinds["project-view"]) == plain(spec["workspace"]["spec"])
    assert plain(kinds["runs"]) == plain(spec["report"]["spec"])


def test_errors_are_one_line(
    server: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.failure = "error"
    for arguments, message in {
        (): "W&B did not take the dashboard, -o FILE writes it instead",
        ("-o", "/proc/nowhere/file"): "/proc/nowhere/file can't be written: No such file",
    }.items():
        with pytest.raises(SystemExit) as end:
            program.main(["dashboard", *arguments])
        err = capsys.readouterr().err
        assert end.value.code == 2
        assert message in err and len(err.splitlines()) == 1


def test_without_the_library_one_line_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pearl_eval.tracking.panels")
    monkeypatch.delattr("pearl_eval.tracking.panels")
    for name in [name for name in sys.modules if name.startswith("wandb_workspaces")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Missing(), *sys.meta_path])
    with pytest.raises(SystemExit) as end:
        program.main(["dashboard", "-o", "never.json"])
    assert end.value.code == 2
    assert "pip install -e '.[dashboard]'" in capsys.readouterr().err


class _Missing:
    """Finds no wandb_workspaces."""

    def find_spec(self, name: str, *rest: Any) -> None:
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["dashboard", "--help"])
    told = capsys.readouterr().out
    for words in ("-o dashboard.json", "--entity TEAM", "WANDB_MODE=offline", "wandb sync"):
        assert words in told
