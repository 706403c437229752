from __future__ import annotations

import json
import random
import re
from fractions import Fraction
from pathlib import Path

import pytest

from tasks.gsm8k import Gsm8k, is_right
from tasks.rows.rows import read_rows
from tasks.scoring.answers import AnswerRule
from tasks.scoring.numbers import find_number

ROW = {"question": "How many?", "answer": "There are 2*3=<<2*3=6>>6.\n#### 6"}


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


#: The cases that docs/tasks.md publishes.
CASES = re.findall(
    r"^\| `( [^`]*)` \| (\S*) ?\|$", (Path(__file__).parents[2] / "docs/tasks.md").read_text(), re.M
)


@pytest.mark.parametrize(("text", "number"), CASES)
def test_numbers_are_read_exactly(text: str, number: str) -> None:
    assert find_number(text) == (Fraction(number) if number else None)


def test_the_published_cases_are_found() -> None:
    assert len(CASES) >= 20


def test_prompt_and_score(tmp_path: Path) -> None:
    task = Gsm8k(
        data=write(tmp_path / "d.jsonl", {"question": "And now?", "answer": "x\n#### 1,000"}),
        shots_data=write(tmp_path / "s.jsonl", ROW, ROW),
        shots=1,
    )
    (problem,) = task.problems()
    example = "Q: How many?\nA: There are 2*3=6. The answer is 6.\n\n"
    assert problem.prompt == example + "Q: And now?\nA:"
    right = " It is so. The answer is 1000.\n\nQ: Next?\nA: The answer is 5."
    assert task.score(problem, right).correct
    assert not task.score(problem, " The answer is 1001.").correct
    assert not task.score(problem, " It is 1000.").correct
    assert not task.score(problem, " I don't know.\nQ: Next?\nA: The answer is 1000.").correct


def test_each_calculation_is_left_out_of_a_worked_example(tmp_path: Path) -> None:
    answer = "It is 2*3=<<2*3=6>>6,\nand 6+1=<<6+1=7>>7.\n#### 7"
    path = write(tmp_path / "d.jsonl", ROW | {"answer": answer})
    (problem,) = Gsm8k(data=path, shots_data=path, shots=1).problems()
    assert "A: It is 2*3=6, and 6+1=7. The answer is 7.\n\nQ:" in problem.prompt


def test_the_last_mark_of_a_worked_answer_has_its_number(tmp_path: Path) -> None:
    row = {"question": "?", "answer": "#### 1. Find it\n2*3=6\n#### 6"}
    task = Gsm8k(data=write(tmp_path / "d.jsonl", row), shots=0)
    (problem,) = task.problems()
    assert task.score(problem, "The answer is 6.").correct
    assert not task.score(problem, "The answer is 1.").correct


def test_a_question_begins_a_line_but_for_the_harness() -> None:
    text = "As in Q: 3. The answer is 6."
    assert is_right(text, "6") and is_right(text, "6", AnswerRule.lenient)
    assert not is_right(text, "6", AnswerRule.strict_match)


def test_worked_examples_end_in_the_mark_that_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", ROW)
    task = Gsm8k(data=path, shots_data=path, shots=1, answer=AnswerRule.hashes)
    (problem,) = task.problems()
    assert problem.prompt.startswith("Q: How many?\nA: There are 2*3=6. #### 6\n\nQ: How many?")
    assert task.score(problem, " So. #### 6\n\nQ: Next?\nA: 5. #### 5").correct
    assert not task.score(problem, " The answer is 6.").correct


@pytest.mark.parametrize(
    ("text", "default", "lenient"),
    [
        (" \\boxed{6}", False, True),
        (" So the answer is 6.", False, True),
        (" 3, then 6", False, True),
        (" The answer is 6. \\boxed{5}", True, False),
        (" The answer is 2*3 = 6.", False, True),
        (" 5\nQ: Next?\nA: 6", False, False),
    ],
)
def test_default_and_lenient_reading(text: str, default: bool, lenient: bool) -> None:
    assert is_right(text, "6") is default
    assert is_right(text, "6", AnswerRule.lenient) is lenient


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "?"}\n', "line 1: no field 'answer'"),
        ('{"question": "?", "answer": "1"}\nnonsense\n', "line 2: not JSON"),
        ("[1]\n", "line 1: no field 'question', 'answer'"),
        ("\n", "no problems in it"),
        ('{"question": 5, "answer": "1"}\n', "line 1: question must be a str, got 5"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_rows(str(path), {"question": str, "answer": str})
    assert str(path) in str(error.value)


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"question": "\xff"}')
    with pytest.raises(ValueError, match="not UTF-8"):
        read_rows(str(path), {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "task.data is missing"),
        ({"data": "GOOD"}, "task.shots_data is missing"),
        (
            {"data": "GOOD", "shots_data": "GOOD", "shots": 3},
            "task.shots=3 needs as many examples",
        ),
        ({"data": "GOOD", "shots": -1}, "task.shots must be at least 0"),
    ],
)
def test_missing_data_is_told(tmp_path: Path, settings: dict, message: str) -> None:
    good = write(tmp_path / "good.jsonl", ROW, ROW)
    with pytest.raises(ValueError, match=message):
        Gsm8k(**{k: good if v == "GOOD" else v for k, v in settings.items()}).load()


def test_examples_are_chosen_by_their_seed(tmp_path: Path) -> None:
    rows = [{"question": f"Q{i}?", "answer": f"#### {i}"} for i in range(30)]
    path = write(tmp_path / "rows.jsonl", *rows)
    prompts = [
        Gsm8k(data=path, shots_data=path, shots=3, shot_seed=seed).load()[0].prompt
        for seed in (0, 0, 1)
    ]
    assert prompts[0] == prompts[1] != prompts[2]
    assert prompts[0].count("The answer is") == 3


def test_eight_examples_are_drawn_from_the_first_two_hundred(tmp_path: Path) -> None:
    """As ``random.Random(1).sample`` draws them, in that order."""
    rows = [{"question": f"Q{i}?", "answer": f"#### {i}"} for i in range(210)]
    path = write(tmp_path / "rows.jsonl", *rows)
    (first, *_) = Gsm8k(data=path, shots_data=path).load()
    drawn = random.Random(1).sample(range(200), 8)
    assert re.findall(r"The answer is (\d+)\.", first.prompt) == [str(i) for i in drawn]


def test_how_many_problems_there_are_is_told_where_nothing_must_be_fetched(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROW, ROW, ROW)
    assert Gsm8k(data=path, shots=0).size() == 3
    assert Gsm8k(data=path, shots_data=path, shots=1, limit=2).size() == 2
    assert (Gsm8k(data=path).size(), Gsm8k(data=path, limit=5).size()) == (None, 5)
    assert Gsm8k(shots=0, limit=7).size() == 7


def test_the_end_of_an_answer_without_a_number_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"question": "?", "answer": f"{'a' * 30}{'b' * 30}"})
    with pytest.raises(ValueError, match=f"#### and a number, got '{'a' * 10}{'b' * 30}'"):
        Gsm8k(data=path, shots=0).load()


def test_what_was_read_is_told(tmp_path: Path) -> None:
    """The checksum is of the content: the same rows in another format have the same."""
    task = Gsm8k(data=write(tmp_path / "d.jsonl", ROW), shots=0)
    task.load()
    described = task.describe()["data"]["data"]
    assert described["rows"] == 1 and described["source"].endswith("d.jsonl")
    (tmp_path / "d.tsv").write_text("\t".join((ROW["question"], "6")))
    fields = {"question": str, "answer": str}
    other = read_rows(str(tmp_path / "d.tsv"), fields)
    assert other.sha256 == read_rows(write(tmp_path / "e.jsonl", other[0]), fields).sha256
    assert other.sha256 != described["sha256"]


def test_two_problems_of_one_name_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", {"id": "a"}, {"id": "b"}, {"id": "a"})
    with pytest.raises(ValueError, match=r"line 3: id 'a' is already that of .*line 1"):
        read_rows(path, {"id": str}, unique="id")
