from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from tasks.answers import find_number
from tasks.gsm8k import Gsm8k
from tasks.rows import read_rows

ROW = {"question": "How many?", "answer": "There are 2*3=<<2*3=6>>6.\n#### 6"}


def write(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" 42.", 42),
        (" 1,234", 1234),
        (" $1,234.50.", Fraction(2469, 2)),
        (" \\$18 per day", 18),
        (" -3", -3),
        (" \u22127", -7),
        (" -$5", -5),
        (" $-5", -5),
        (" .5 litres", Fraction(1, 2)),
        (" \\boxed{70000}", 70000),
        (" 20%", 20),
        (" 3 out of 4", 3),
        (" €9", 9),
        (" none", None),
    ],
)
def test_numbers_are_read_exactly(text: str, number: int | Fraction | None) -> None:
    assert find_number(text) == number


def test_prompt_and_score(tmp_path: Path) -> None:
    task = Gsm8k(
        data=write(tmp_path / "d.jsonl", {"question": "And now?", "answer": "x\n#### 1,000"}),
        shots_data=write(tmp_path / "s.jsonl", ROW, ROW),
        shots=1,
    )
    (problem,) = task.problems()
    example = "Q: How many?\nA: There are 2*3=6. The answer is 6.\n\n"
    assert problem.prompt == example + "Q: And now?\nA:"
    assert task.score(problem, " It is so. The answer is 1000.\n\nQ: Next?\nA: The answer is 5.")
    assert not task.score(problem, " The answer is 1001.")
    assert not task.score(problem, " It is 1000.")
    assert not task.score(problem, " I don't know.\nQ: Next?\nA: The answer is 1000.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"question": "?"}\n', "line 1: no field 'answer'"),
        ('{"question": "?", "answer": "1"}\nnonsense\n', "line 2: not JSON"),
        ("[1]\n", "line 1: no field 'question', 'answer'"),
        ("\n", "no problems in it"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_rows(str(path), ("question", "answer"))
    assert str(path) in str(error.value)


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"question": "\xff"}')
    with pytest.raises(ValueError, match="not UTF-8"):
        read_rows(str(path), ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "task.data is missing"),
        ({"data": "x"}, "task.shots_data is missing"),
        ({"data": "x", "shots": -1}, "task.shots must be at least 0"),
    ],
)
def test_missing_data_is_told(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Gsm8k(**settings)
