"""SPEED-Bench: its splits and categories, the folders that hold them, texts that are not there."""

from __future__ import annotations

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from test_mt_bench import write

from pearl_eval.config.paths import task_data
from tasks.rows.rows import Hub
from tasks.speed_bench import PLACEHOLDER, Placeholders, SpeedBench

Run = Callable[..., tuple[int, str, str]]
MINI = task_data("speed_bench_mini")
REFUSED = "the texts of 1 of 3 rows are not in the data set itself"


def row(question_id: str, category: str, *turns: str) -> dict[str, Any]:
    return {"question_id": question_id, "category": category, "turns": list(turns or ["Why?"])}


ROWS = [
    row("a", "coding", "Why?", "How?"),
    row("b", "math", f"{PLACEHOLDER}\n\nSolve: {{question}}"),
    row("c", "math"),
]
OUT = {"placeholders": "leave_out"}


def task(data: object, **settings: Any) -> SpeedBench:
    if "placeholders" in settings:
        settings["placeholders"] = Placeholders(settings["placeholders"])
    return SpeedBench(data=str(data), **settings)


def ids(problems: list[Any]) -> list[str]:
    return [problem.task_id.removeprefix("SPEED-Bench/") for problem in problems]


def test_the_qualitative_split_is_by_what_it_is_about() -> None:
    made = SpeedBench(data=MINI)
    problems = made.problems()
    named = "coding humanities math multilingual qa rag reasoning roleplay stem summarization"
    assert [problem.category for problem in problems] == [*named.split(), "writing"]
    assert Counter(len(problem.turns) for problem in problems) == {1: 8, 2: 2, 3: 1}
    assert (made.size(), made.texts()) == (11, 15)
    assert made.score(problems[0], "text").correct is None
    assert made.describe()["data"]["qualitative"]["rows"] == 11


def test_throughput_is_by_length_and_entropy() -> None:
    made = SpeedBench(data=MINI, splits=["throughput_2k", "throughput_1k"])
    tiers = ("low_entropy", "mixed", "high_entropy")
    expected = [f"{length} {tier}" for length in ("2k", "1k") for tier in tiers]
    assert [problem.category for problem in made.problems()] == expected
    some = SpeedBench(data=MINI, splits=["throughput_1k"], categories=["high_entropy", "mixed"])
    assert [problem.category for problem in some.problems()] == ["1k mixed", "1k high_entropy"]


def test_dialogues_begin_with_what_is_asked_for() -> None:
    problems = SpeedBench(data=MINI, system_prompt="Be kind.").problems()
    assert {problem.system_prompt for problem in problems} == {"Be kind."}
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        SpeedBench(limit=0)


def test_one_text_in_two_splits_is_two_problems(tmp_path: Path) -> None:
    for name in ("throughput_1k", "throughput_8k"):
        write(tmp_path / f"{name}.jsonl", row("a", "mixed"))
    both = task(tmp_path, splits=["throughput_1k", "throughput_8k"])
    assert ids(both.problems()) == ["throughput_1k/a", "throughput_8k/a"]


def test_a_limit_takes_as_many_of_each_category() -> None:
    both = ["throughput_1k", "throughput_2k"]
    taken = SpeedBench(data=MINI, splits=both, limit=4).problems()
    assert [problem.category for problem in taken] == [
        "1k low_entropy",
        "1k mixed",
        "1k high_entropy",
        "2k low_entropy",
    ]


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("qualitative.jsonl", False),
        ("qualitative.parquet", False),
        ("qualitative/test.parquet", False),
        ("qualitative/test.jsonl", False),
        ("qualitative/test-00000-of-00001.parquet", False),
        ("test.parquet", True),
        ("test-00000-of-00001.parquet", True),
    ],
)
def test_folders_as_scripts_and_the_hub_leave_them(tmp_path: Path, name: str, alone: bool) -> None:
    """``test.parquet`` says no split: it is taken where one split is asked for."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        pd.DataFrame([ROWS[0], ROWS[2]]).to_parquet(path)
    else:
        write(path, ROWS[0], ROWS[2])
    for data in (tmp_path, path):
        problems = task(data).problems()
        assert ids(problems) == ["qualitative/a", "qualitative/c"]
        assert problems[0].turns == ("Why?", "How?")
    write(tmp_path / "throughput_1k.jsonl", row("t", "mixed"))
    both = task(tmp_path, splits=["qualitative", "throughput_1k"])
    if alone:
        with pytest.raises(ValueError, match=r"has no file of qualitative: expected .*qual"):
            both.problems()
    else:
        assert ids(both.problems()) == ["qualitative/a", "qualitative/c", "throughput_1k/t"]


def test_messages_are_turns(tmp_path: Path) -> None:
    """As prepare.py writes them."""
    message = {"role": "user", "content": "Why?"}
    own = {"question_id": "a", "category": "qa", "messages": [message, {**message, "content": "?"}]}
    data = write(tmp_path / "d.jsonl", own)
    (problem,) = task(data).problems()
    assert problem.turns == ("Why?", "?")
    with_system = [{"role": "system", "content": "Be kind."}, message]
    for wrong, said in (
        (with_system, "line 1: messages must be the user's alone"),
        ([{"role": "assistant", "content": "So."}, message], "line 1: messages: an answer of"),
        ([message, {"role": "assistant", "content": "So."}, message], "the user's alone"),
    ):
        write(tmp_path / "d.jsonl", own | {"messages": wrong})
        with pytest.raises(ValueError, match=said):
            task(data).problems()


def test_texts_that_are_not_there_are_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", *ROWS)
    with pytest.raises(ValueError, match=rf"d\.jsonl, line 2: {REFUSED}.*=leave_out"):
        task(data).problems()
    assert ids(task(data, categories=["coding"]).problems()) == ["qualitative/a"]
    with pytest.raises(ValueError, match="line 2: the texts of 1 of 2 rows"):
        task(data, categories=["math"]).problems()


def test_or_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = write(tmp_path / "d.jsonl", *ROWS)
    with caplog.at_level(logging.WARNING):
        assert ids(task(data, **OUT).problems()) == ["qualitative/a", "qualitative/c"]
    assert f"qualitative: left out, without the texts of 1 of 3 rows: {data}, line 2" in caplog.text
    later = row("d", "qa", "Why?", PLACEHOLDER)
    write(tmp_path / "d.jsonl", later, row("e", "qa", "What does it mean that a FULL BENCH…"))
    assert ids(task(data, **OUT).problems()) == ["qualitative/e"]
    write(tmp_path / "d.jsonl", later)
    with pytest.raises(ValueError, match=r"line 1: the texts of 1 of 1 rows") as error:
        task(data, **OUT).problems()
    assert "leave_out" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"question_id": 7}, "line 2: question_id must be a str, got 7"),
        ({"question_id": "a"}, "line 2: question_id 'a' is already that of .*line 1"),
        ({"category": None}, "line 2: category must be a str, got None"),
        ({"turns": [" "]}, "line 2: turns must be a list of messages"),
        ({"turns": "?"}, "line 2: turns must be a list, got"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, wrong: dict, message: str) -> None:
    data = write(tmp_path / "bad.jsonl", ROWS[0], ROWS[2] | wrong)
    with pytest.raises(ValueError, match=message):
        task(data).problems()


def test_what_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"row of qualitative is of 'code'; there are coding, hum"):
        SpeedBench(data=MINI, categories=["math", "code"]).problems()
    SpeedBench(splits=["qualitative", *(f"throughput_{n}k" for n in (1, 2, 8, 16, 32))])
    for wrong in ([], ["throughput"]):
        with pytest.raises(ValueError, match=r"task\.splits are some of qualitative, thro"):
            SpeedBench(splits=wrong)
    with pytest.raises(ValueError, match=r"has no file of throughput_8k: expected .*8k\.jsonl"):
        SpeedBench(data=MINI, splits=["throughput_8k"]).problems()


def test_the_hubs_configuration_is_the_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``datasets`` in the hub's place; without the data nothing is told of their number."""
    asked = []

    def load_dataset(path: str, name: str, **options: Any) -> list[dict[str, Any]]:
        asked.append((path, name, options))
        return [row("a", "mixed") | {"sub_category": "x", "multiturn": False}]

    fake = SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    hub = Hub("nvidia/SPEED-Bench", revision="abc")
    made = SpeedBench(hub=hub, splits=["throughput_1k", "throughput_2k"])
    assert (made.size(), made.texts()) == (None, None)
    assert ids(made.problems()) == ["throughput_1k/a", "throughput_2k/a"]
    options = {"split": "test", "revision": "abc"}
    names = ("throughput_1k", "throughput_2k")
    assert asked == [("nvidia/SPEED-Bench", name, options) for name in names]
    assert SpeedBench(hub=hub, limit=7).size() == 7


def test_a_run_has_figures_of_each_category(run_chat: Run, tmp_path: Path) -> None:
    code, out, err = run_chat(
        "task=speed_bench_mini",
        "task.splits=[throughput_1k,throughput_2k]",
        "task.categories=[mixed]",
        "task.max_new_tokens=8",
        "hydra.run.dir=run",
    )
    assert code == 0, err
    assert "identical 2/2" in out and "1k mixed" in out and "2k mixed" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert list(summary["by_category"]) == ["1k mixed", "2k mixed"]
    assert summary["accuracy"] is None and set(summary["data"]) == {
        "throughput_1k",
        "throughput_2k",
    }
