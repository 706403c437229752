"""Where a generated function ends: each stop word by itself, and the first of several."""

from __future__ import annotations

import pytest

from tasks.humaneval import HumanEval
from tasks.task import Problem

PROBLEM = Problem("HumanEval/0", "")

BODY = "\n    x = 1  # a class, def, if and print\n    return x"
INDENTED = "\n    if x:\n        print(x)\n    def g(): pass"


@pytest.mark.parametrize(
    "rest",
    [
        "\nclass Other:",
        "\ndef other():",
        "\n# Tests",
        "\n@decorated",
        "\nprint(f())",
        "\nif __name__:",
        "\n```\nThat is it.",
    ],
)
def test_each_stop_word_ends_the_function(rest: str) -> None:
    assert HumanEval().completion(PROBLEM, BODY + rest) == BODY


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (BODY, BODY),
        ("", ""),
        ("\ndef f():", ""),
        # Whichever comes first in the text, not in the list.
        (BODY + "\nif y:\nclass C:\ndef f():", BODY),
        # Indented, or in the middle of a line, they are the function's own.
        (INDENTED, INDENTED),
        ("  return def_", "  return def_"),
    ],
)  # fmt: skip
def test_the_first_of_them_counts_at_the_beginning_of_a_line(text: str, kept: str) -> None:
    assert HumanEval().completion(PROBLEM, text) == kept


def test_other_stop_words_take_their_place() -> None:
    task = HumanEval(stop_words=["STOP"])
    assert task.completion(PROBLEM, "a\ndef b STOP c") == "a\ndef b "
    assert HumanEval(stop_words=[]).completion(PROBLEM, BODY + "\ndef f():") == BODY + "\ndef f():"


def test_pass_at_k_of_other_counts() -> None:
    """Of 5 samples 2 are right: 1 - C(3, k) / C(5, k), which is 0.4, 0.7 and 0.9."""
    task = HumanEval(samples_per_task=5, k=[1, 2, 3])
    figures = task.figures({"a": [True, False, True, False, False]})
    assert figures == {"pass_at_k": pytest.approx({"1": 0.4, "2": 0.7, "3": 0.9})}
