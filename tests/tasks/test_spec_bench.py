"""Spec-Bench: its rows and subtasks, which are taken, and the figures of each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from test_mt_bench import QUESTIONS, write

from pearl_eval.config.paths import task_data
from tasks.mt_bench import MtBench
from tasks.rows.rows import Hub
from tasks.spec_bench import SUBTASKS, SpecBench

Run = Callable[..., tuple[int, str, str]]
FILE = QUESTIONS.with_name("spec_bench_question.jsonl")
MINI = task_data("spec_bench_mini.jsonl")
ROW = {"question_id": 7, "category": "math", "turns": ["What is 2 + 3?", "And twice that?"]}


def row(number: int, category: str) -> dict:
    return {"question_id": number, "category": category, "turns": ["Why?"]}


@pytest.mark.skipif(not FILE.exists(), reason="Spec-Bench's questions are not at hand")
def test_the_real_480_questions() -> None:
    task = SpecBench(data=str(FILE))
    problems = task.problems()
    assert Counter(problem.category for problem in problems) == dict.fromkeys(SUBTASKS, 80)
    assert Counter(len(problem.turns) for problem in problems) == {1: 400, 2: 80}
    assert (problems[0].task_id, problems[0].category) == ("Spec-Bench/81", "mt_bench")
    assert (task.size(), task.texts()) == (480, 560)
    apart = SpecBench(data=str(FILE), by_subtask=False).problems()
    assert Counter(Counter(problem.category for problem in apart).values()) == {10: 8, 80: 5}


@pytest.mark.skipif(not FILE.exists(), reason="Spec-Bench's questions are not at hand")
def test_the_file_can_be_read_as_from_a_network() -> None:
    """Its rows have references of several types, which ``datasets`` has to get over."""
    from_hub = SpecBench(hub=Hub("json", files=str(FILE)))
    from_file = SpecBench(data=str(FILE))
    assert from_hub.load() == from_file.load()
    assert from_hub.sources["data"].sha256 == from_file.sources["data"].sha256


def test_what_an_estimate_is_told_without_the_data() -> None:
    """Whole: 400 prompts and 80 dialogues of two turns. Of 13, three are of MT-bench."""
    assert (SpecBench().size(), SpecBench().texts()) == (480, 560)
    assert (SpecBench(limit=13).size(), SpecBench(limit=13).texts()) == (13, 16)
    assert SpecBench(limit=900).size() == 480
    few = SpecBench(subtasks=["qa", "rag"])
    assert (few.size(), few.texts()) == (160, 160)
    assert SpecBench(data=MINI, limit=7).texts() == 9


def test_a_limit_takes_as_many_of_each_subtask_and_of_its_categories() -> None:
    """MT-bench's are its first category's, its second's, and so on, each time the next one."""

    def ids(limit: int | None) -> list[str]:
        return [problem.task_id for problem in SpecBench(data=MINI, limit=limit).problems()]

    whole = [f"Spec-Bench/{2001 + i}" for i in range(13)]
    assert ids(None) == ids(13) == ids(99) == whole
    assert ids(6) == [whole[0], *whole[8:]]
    assert ids(7) == [*whole[:2], *whole[8:]]
    assert ids(2) == [whole[0], whole[8]]


def test_a_limit_within_categories(tmp_path: Path) -> None:
    rows = [row(1, "math"), row(2, "math"), row(3, "stem"), row(4, "qa"), row(5, "stem")]
    rows += [row(6, "qa"), row(7, "qa")]
    data = write(tmp_path / "d.jsonl", *rows)
    taken = {
        limit: [
            problem.data["question_id"] for problem in SpecBench(data=data, limit=limit).problems()
        ]
        for limit in (1, 2, 3, 4, 5, 6)
    }
    assert taken == {
        1: [1],
        2: [1, 4],
        3: [1, 3, 4],
        4: [1, 3, 4, 6],
        5: [1, 2, 3, 4, 6],
        6: [1, 2, 3, 4, 6, 7],
    }


def test_dialogues_begin_with_what_is_asked_for_and_fields_must_be_there(tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", ROW)
    (problem,) = SpecBench(data=data, system_prompt="Be kind.").problems()
    assert problem.system_prompt == "Be kind."
    write(tmp_path / "d.jsonl", {"question_id": 7, "turns": ["Why?"], "reference": [5]})
    with pytest.raises(ValueError, match=r"line 1: no field 'category' \(its fields: 'question_id"):
        SpecBench(data=data).problems()
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        SpecBench(limit=0)


def test_subtasks_are_chosen(tmp_path: Path) -> None:
    task = SpecBench(data=MINI, subtasks=["rag", "mt_bench"])
    assert Counter(p.category for p in task.problems()) == {"mt_bench": 8, "rag": 1}
    data = write(tmp_path / "d.jsonl", ROW)
    with pytest.raises(ValueError, match=r"no problem in it is of task\.subtasks=\['qa'\]"):
        SpecBench(data=data, subtasks=["qa"]).problems()
    for wrong in ([], ["math"]):
        with pytest.raises(ValueError, match=r"task\.subtasks are some of mt_bench, transl"):
            SpecBench(subtasks=wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"category": "maths"}, "line 2: category must be one of writing, .*, rag, got 'maths'"),
        ({"category": None}, "line 2: category must be a str, got None"),
        ({"turns": None}, "line 2: turns must be a list, got None"),
        ({"turns": ["?", ""]}, "line 2: turns must be a list of messages"),
        ({"question_id": 7}, "line 2: question_id 7 is already that of .*line 1"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, wrong: dict, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", ROW, ROW | {"question_id": 8} | wrong)
    with pytest.raises(ValueError, match=message) as error:
        SpecBench(data=path).problems()
    assert path in str(error.value)


def test_a_run_has_figures_of_each_subtask_and_no_score(run_chat: Run, tmp_path: Path) -> None:
    short = ("task.limit=7", "task.max_new_tokens=8")
    code, out, err = run_chat("task=spec_bench_mini", *short, "hydra.run.dir=run")
    assert code == 0, err
    assert "identical 9/9" in out and "translation" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {name: own["prompts"] for name, own in summary["by_category"].items()} == {
        "mt_bench": 4
    } | dict.fromkeys(list(SUBTASKS)[1:], 1)
    parts = [summary, *summary["by_category"].values()]
    assert all(part["accuracy"] is None for part in parts)
    assert (summary["accuracy_ci95"], summary["reference_accuracy"]) == (None, None)
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").open()]
    assert {(one["correct"], one["reference_correct"]) for one in records} == {(None, None)}
    answers = [json.loads(line) for line in (tmp_path / "run" / "model_answer.jsonl").open()]
    assert [one["question_id"] for one in answers] == [2001, 2002, *range(2009, 2014)]
    assert [len(one["choices"][0]["turns"]) for one in answers] == [2, 2, 1, 1, 1, 1, 1]
    own = {one["category"]: one for one in records}["qa"]
    assert summary["by_category"]["qa"]["acceptance_length"] == pytest.approx(
        1 + sum(own["verifications"]) / len(own["verifications"])
    )


def test_mt_bench_scores_as_ever() -> None:
    (first, *_) = MtBench(data=MINI).problems()
    assert MtBench(data=MINI).score(first, "text") is None
