from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.checker import Checker
from tasks.humaneval import HumanEval


@pytest.fixture(scope="module")
def task() -> Iterator[HumanEval]:
    task = HumanEval(check_seconds=2.0)
    task.open()
    yield task
    task.close()


def test_the_real_164_problems(task: HumanEval) -> None:
    problems = task.problems()
    assert len(problems) == 164
    assert problems[0].task_id == "HumanEval/0"
    assert all(p.prompt == p.prompt.strip() and "def " in p.prompt for p in problems)
    assert len(HumanEval(limit=12).problems()) == 12


@pytest.mark.slow
def test_canonical_solutions_pass_and_emptied_ones_fail(task: HumanEval) -> None:
    for problem in task.problems():
        assert task.score(problem, problem.data["canonical_solution"]), problem.task_id
        assert not task.score(problem, "\n    pass\n"), problem.task_id


def test_text_after_the_function_is_cut(task: HumanEval) -> None:
    assert task.completion("\n    return 1\n\ndef other():\n") == "\n    return 1\n"
    assert task.completion("\n    x = 1  # def\n    return x") == "\n    x = 1  # def\n    return x"
    problem = task.problems()[0]
    assert task.score(problem, problem.data["canonical_solution"] + "\nprint(1 / 0)")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("\n    while True:\n        pass", "timed out"),
        ("\n    return bytearray(10**11)", "failed"),
        ("\n    import os\n    os._exit(0)", "timed out"),
        ("\n    raise SystemExit(0)", "failed"),
        ("\n    return 1 +", "failed"),
    ],
)
def test_bad_programs_fail_and_the_next_check_still_works(
    task: HumanEval, body: str, result: str
) -> None:
    checker = Checker(seconds=1.0, memory_mb=2048)
    problem = dict(task.problems()[0].data)
    check = checker.check(problem, body)
    assert not check.passed
    assert check.result.startswith(result)
    assert checker.check(problem, problem["canonical_solution"]).passed
    checker.close()


def test_a_checking_process_that_dies_is_replaced(task: HumanEval) -> None:
    checker = Checker(seconds=1.0, memory_mb=2048)
    problem = dict(task.problems()[0].data)
    assert checker.check(problem, problem["canonical_solution"]).passed
    assert checker._process is not None
    checker._process.kill()
    checker._process.wait()
    assert checker.check(problem, problem["canonical_solution"]).passed
    checker.close()


def test_modules_of_the_users_directory_take_no_name_of_ours(
    task: HumanEval, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tasks.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    checker = Checker(seconds=2.0, memory_mb=2048)
    problem = dict(task.problems()[0].data)
    assert checker.check(problem, problem["canonical_solution"]).passed
    checker.close()


def test_a_checker_that_cannot_start_is_an_error_not_a_score() -> None:
    with pytest.raises(ChildProcessError, match=r"task\.check_memory_mb=10 enough"):
        Checker(seconds=1.0, memory_mb=10).start()


def test_programs_see_no_secrets_of_the_environment(
    task: HumanEval, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert os.environ["WANDB_API_KEY"] == "secret"
    problem = dict(task.problems()[0].data)
    checker = Checker(seconds=2.0, memory_mb=2048)
    body = "\n    import os\n    assert 'WANDB_API_KEY' not in os.environ\n"
    assert checker.check(problem, body + problem["canonical_solution"]).passed
    checker.close()
