"""Scoring never loses a run: a scorer that fails costs one warning and one wrong answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from pearl_eval.config.paths import config_dir
from tasks.gsm8k import Gsm8k
from tasks.humaneval import HumanEval
from tasks.mgsm import Mgsm
from tasks.mt_bench import MtBench
from tasks.scoring.score import Score
from tasks.task import Problem, Task

Run = Callable[..., tuple[int, str, str]]
SHORT = (
    "task=gsm8k_mini",
    "task.limit=3",
    "task.max_new_tokens=4",
    "decoder=speculative",
    "hydra.run.dir=run",
)


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fail_at(monkeypatch: pytest.MonkeyPatch, task_id: str, error: Exception) -> None:
    """All answers are right, but for one problem, over which the scorer fails."""

    def score(task: Gsm8k, problem: Problem, text: str) -> Score:
        if problem.task_id == task_id:
            raise error
        return Score(True)

    monkeypatch.setattr(Gsm8k, "score", score)


def test_a_scorer_that_fails_costs_one_wrong_answer(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "GSM8K/1", ValueError("Invalid literal\nfor Fraction"))
    code, _, err = run_cli(*SHORT)
    assert code == 0 and "Traceback" not in err
    told = "GSM8K/1: scoring it failed (ValueError: Invalid literal for Fraction), so it counts as"
    assert err.count(told) == 1, err
    records = read_lines(tmp_path / "run" / "records.jsonl")
    assert [record["correct"] for record in records] == [True, False, True]
    assert [record["reference_correct"] for record in records] == [True, False, True]
    assert records[1]["result"] == "scoring failed: ValueError: Invalid literal for Fraction"
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["accuracy"] == pytest.approx(2 / 3)


def test_where_nothing_can_be_scored_any_longer_the_run_ends_and_is_continued(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "GSM8K/1", ChildProcessError("no sandbox any longer"))
    code, _, err = run_cli(*SHORT)
    assert code == 2 and "no sandbox any longer" in err
    assert len(read_lines(tmp_path / "run" / "records.jsonl")) == 1
    fail_at(monkeypatch, "GSM8K/2", RecursionError("too deep"))
    code, _, err = run_cli(*SHORT)
    assert code == 0 and "continued, 1 of 3 are done" in err, err
    records = read_lines(tmp_path / "run" / "records.jsonl")
    assert [record["correct"] for record in records] == [True, True, False]


def test_a_problem_is_one_text_but_for_dialogues() -> None:
    """What an estimate counts with before any problem was read."""
    assert [kind.turns for kind in (Task, Gsm8k, HumanEval, Mgsm, MtBench)] == [1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("humaneval", "pass@1"),
        ("gsm8k", "accuracy"),
        ("mgsm", "accuracy"),
        ("mt_bench", "same answer"),
        ("prompts", "accuracy"),
        ("spec_bench", "accuracy"),
        ("speed_bench", "accuracy"),
    ],
)
def test_a_task_is_by_itself_what_its_configuration_makes_it(name: str, figure: str) -> None:
    """But for where its problems are, how many are taken, and what a dialogue begins with."""
    told: Any = OmegaConf.to_container(OmegaConf.load(config_dir() / "task" / f"{name}.yaml"))
    made: Any = get_class(told.pop("_target_"))()
    for key in ("data", "hub", "shots_data", "shots_hub", "limit", "system_prompt"):
        told.pop(key, None)
    assert told["max_new_tokens"] > 0
    own = {key: getattr(made, key) for key in told}
    assert {key: getattr(one, "value", one) for key, one in own.items()} == told
    assert (made.accuracy_name, made.limit, made.spread) == (figure, None, False)
