"""The files of a run as they are read: what is taken, what is made up for, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from make_record import make_record

from pearl_eval.errors import UserError
from pearl_eval.results.formats import versioned
from pearl_eval.results.records import (
    biased,
    read_error,
    read_identity,
    read_json,
    read_lines,
    read_records,
    read_run,
    read_summary,
    read_yaml,
)

#: As much of a summary as is asked of every one.
LEAST: dict[str, Any] = {
    "decoder": "pearl",
    "pair": "tiny",
    "task": "gsm8k",
    "prompts": 3,
    "violations": 0,
    "ties": 1,
    "environment": {},
    "traces": {},
    "by_category": None,
}
_TIMES = [f"{name}_seconds_p{p}" for name in ("ttft", "tpot", "itl") for p in (50, 95, 99)]


def written(folder: Path, **changes: Any) -> Path:
    (folder / "summary.json").write_text(json.dumps(versioned(LEAST | changes)))
    return folder


def test_what_an_earlier_summary_lacks_is_none(tmp_path: Path) -> None:
    """Of the run, of its traces and of its categories; what is there stays."""
    categories = {"de": {"acceptance_length": 2.5}, "es": {}}
    summary = read_summary(written(tmp_path, by_category=categories, devices={"decoder": []}))
    equal = ["speedup", "speedup_ci95", "tokens_per_second"]
    figures = [
        "acceptance_length",
        "speedup_of_mean_speeds",
        *(f"equal_hardware_{name}" for name in equal),
    ]
    per_device = [
        f"{whose}tokens_per_second_per_device" for whose in ("", "reference_", "equal_hardware_")
    ]
    added = [*figures, *_TIMES, *per_device]
    assert {name: summary[name] for name in added} == dict.fromkeys(added)
    assert summary["devices"] == {"decoder": []}
    traces = ("verifications", "accepted_per_verification", "acceptance_by_position")
    assert summary["traces"] == dict.fromkeys(traces)
    none = dict.fromkeys(figures)
    assert summary["by_category"] == {"de": none | {"acceptance_length": 2.5}, "es": none}
    assert read_summary(written(tmp_path))["by_category"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 3) for name in ("decoder", "pair", "task")),
        *((name, "3") for name in ("prompts", "violations", "ties")),
        ("environment", []),
    ],
)
def test_a_summary_that_says_something_else_is_refused(
    tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(UserError) as refused:
        read_summary(written(tmp_path, **{name: value}))
    assert str(refused.value) == (
        f"{tmp_path / 'summary.json'} is damaged ({name!r} is {value!r}): continue the run, or move"
        " its folder away"
    )


def test_what_is_asked_of_a_file_and_lacks_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text('{"inner": {"a": 1}}')
    content = read_json(path)
    assert content["inner"]["a"] == 1
    for lacking in (lambda: content["b"], lambda: content["inner"]["b"]):
        with pytest.raises(UserError) as refused:
            lacking()
        told = f"{path} is damaged (it lacks 'b'): move it away and make it anew"
        assert str(refused.value) == told
    for text, why in (("[1]", "it holds no JSON object"), ("{", "Expecting property name")):
        path.write_text(text)
        with pytest.raises(UserError, match=r"some\.json is damaged .*: do that") as refused:
            read_json(path, "do that")
        assert why in str(refused.value)


def test_lines_that_are_damaged_are_counted_from_one(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text('{"a": 1}\n[2]\n')
    assert list(read_lines(path)) == [{"a": 1}, [2]]
    path.write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(UserError, match=r"records\.jsonl, line 2, is damaged \(Expecting"):
        list(read_lines(path))
    line = json.dumps(versioned(vars(make_record())))
    path.write_text(f"{line}\n[2]\n")
    records = read_records(path)
    assert next(records)["task_id"] == "Task/0"
    with pytest.raises(UserError, match=r"line 2, is damaged \(it holds no JSON object\)"):
        next(records)


def test_an_error_is_told_in_lines_and_only_where_there_is_one(tmp_path: Path) -> None:
    assert read_error(tmp_path) is None
    (tmp_path / "error.txt").write_bytes(b"no GPU\nof caf\xe9\n")
    assert read_error(tmp_path) == ["no GPU", "of caf\ufffd"]


def test_what_a_run_is(tmp_path: Path) -> None:
    assert read_run(tmp_path) is None and read_identity(tmp_path) == {}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(versioned({"attempts": 1})))
    assert read_identity(tmp_path) == {}
    path.write_text(json.dumps(versioned({"attempts": 1, "identity": {"seed": 2}})))
    assert read_identity(tmp_path) == {"seed": 2}
    path.write_text("{")
    with pytest.raises(UserError, match="move the folder away and run anew"):
        read_run(tmp_path)


def test_a_yaml_file_is_read_as_it_is_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("a: ${b}\n")
    assert read_yaml(path) == {"a": "${b}"}
    path.write_text("a: [\n")
    with pytest.raises(UserError, match=r"some\.yaml is damaged: "):
        read_yaml(path)


@pytest.mark.parametrize(("p_value", "wrong"), [(None, False), (0.99e-6, True), (1e-6, False)])
def test_tokens_are_biased_below_one_in_a_million(p_value: float | None, wrong: bool) -> None:
    assert biased({"sampling_p_value": p_value}) is wrong
