"""GSM8K: grade-school word problems (Cobbe et al., 2021)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.answers import find_number
from tasks.rows import read_rows
from tasks.task import Problem, Task

_ANSWER = "The answer is"
_FIELDS = ("question", "answer")


@dataclass
class Gsm8k(Task):
    """Questions after worked examples; the answer is the number after "The answer is".

    The prompt is ``Q: …`` and ``A:`` after ``shots`` examples in the same form, as in the paper's
    scripts; the generated text is cut where the next question would begin.

    Parameters
    ----------
    data
        JSON-lines file with ``question`` and ``answer``; an answer ends in ``#### N``.
    shots
        Number of worked examples.
    shots_data
        The file they are taken from, from its first line on.
    """

    accuracy_name = "accuracy"

    data: str | None = None
    shots: int = 8
    shots_data: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None:
            raise ValueError("task.data is missing: give the JSON-lines file of the problems")
        if self.shots < 0:
            raise ValueError(f"task.shots must be at least 0, got {self.shots}")
        if self.shots and self.shots_data is None:
            raise ValueError(
                "task.shots_data is missing: give the JSON-lines file of the worked examples, or"
                " task.shots=0"
            )

    def load(self) -> Sequence[Problem]:
        assert self.data is not None
        examples = "".join(
            f"Q: {row['question']}\nA: {_worked(row['answer'])}\n\n" for row in self._examples()
        )
        return [
            Problem(f"GSM8K/{index}", f"{examples}Q: {row['question']}\nA:", data=row)
            for index, row in enumerate(read_rows(self.data, _FIELDS))
        ]

    def score(self, problem: Problem, text: str) -> bool:
        return is_right(text, problem.data["answer"].rpartition("####")[2])

    def _examples(self) -> list[dict[str, Any]]:
        if not self.shots:
            return []
        assert self.shots_data is not None
        rows = read_rows(self.shots_data, _FIELDS)
        if len(rows) < self.shots:
            raise ValueError(f"{self.shots_data}: {len(rows)} examples, task.shots={self.shots}")
        return rows[: self.shots]


def is_right(text: str, answer: str) -> bool:
    """Whether the number that a generated text gives as its answer is the right one."""
    _, found, rest = text.split("\nQ:")[0].partition(_ANSWER)
    expected = find_number(answer)
    return bool(found) and expected is not None and find_number(rest) == expected


def _worked(answer: str) -> str:
    """A worked answer in the form the model is to continue in, without calculator marks."""
    solution, _, number = re.sub(r"<<.*?>>", "", answer).partition("####")
    return f"{' '.join(solution.split())} {_ANSWER} {number.strip()}."
