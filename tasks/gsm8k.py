"""GSM8K: grade-school word problems (Cobbe et al., 2021)."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.rows.rows import Hub, load_rows
from tasks.scoring.answers import (
    THE_ANSWER_IS,
    AnswerRule,
    final_number,
    marked_number,
    said,
    same_as_in_harness,
)
from tasks.scoring.numbers import find_number
from tasks.scoring.score import Score
from tasks.task import Problem, Task

_FIELDS = {"question": str, "answer": str}
#: Worked examples are drawn from so many first rows of their file.
_POOL = 200


@dataclass
class Gsm8k(Task):
    """Questions after worked examples; the answer is the number after "The answer is".

    The prompt is ``Q: …`` and ``A:`` after ``shots`` examples in the same form, as in the paper's
    scripts; the generated text is cut where the next question would begin.

    Parameters
    ----------
    data
        JSON-lines file with ``question`` and ``answer``; an answer ends in ``#### N``.
    hub
        The data set that is taken without one.
    shots
        Number of worked examples.
    shot_seed
        Chooses them: ``random.Random(shot_seed).sample`` of the first 200 training rows, or of all
        where there are fewer.
    shots_data, shots_hub
        As ``data`` and ``hub``, for the worked examples.
    answer
        How the answer is found in a generated text; worked examples end in the same mark. By
        default after the first "The answer is" that has a number in its sentence.
    chat
        Whether the prompt is the message of a user, in the model's own chat format.
    """

    accuracy_name = "accuracy"

    data: str | None = None
    hub: Hub | None = None
    shots: int = 8
    shot_seed: int = 1
    shots_data: str | None = None
    shots_hub: Hub | None = None
    answer: AnswerRule = AnswerRule.default
    chat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shots < 0:
            raise ValueError(f"task.shots must be at least 0, got {self.shots}")

    def size(self) -> int | None:
        local = self.data and (self.shots_data or not self.shots)
        return super().size() if local else self.limit

    def load(self) -> Sequence[Problem]:
        rows = load_rows(self.data, self.hub, _FIELDS, "task.data")
        self.sources = {"data": rows}
        if self.shots:
            self.sources["shots"] = load_rows(
                self.shots_data, self.shots_hub, _FIELDS, "task.shots_data"
            )
        for index, row in enumerate(rows):
            if find_number(_number(row)) is None:
                end = row["answer"][-40:]
                raise ValueError(
                    f"{rows.where(index)}: an answer must end in #### and a number, got {end!r}"
                )
        examples = "".join(
            f"Q: {row['question']}\nA: {self._worked(row['answer'])}\n\n"
            for row in self._examples()
        )
        return [
            Problem.ask(
                f"GSM8K/{index}", f"{examples}Q: {row['question']}\nA:", self.chat, data=row
            )
            for index, row in enumerate(rows)
        ]

    def score(self, problem: Problem, text: str) -> Score:
        return Score(is_right(text, _number(problem.data), self.answer))

    def _worked(self, answer: str) -> str:
        """A worked answer in the form the model is to continue in, without calculator marks."""
        solution, _, number = re.sub(r"<<.*?>>", "", answer).partition("####")
        end = f"#### {number.strip()}"
        if self.answer is not AnswerRule.hashes:
            end = f"{THE_ANSWER_IS} {number.strip()}."
        return f"{' '.join(solution.split())} {end}"

    def _examples(self) -> list[dict[str, Any]]:
        if not self.shots:
            return []
        rows = self.sources["shots"]
        pool = rows[:_POOL]
        if len(pool) < self.shots:
            raise ValueError(
                f"task.shots={self.shots} needs as many examples, and {rows.source} has {len(pool)}"
            )
        return random.Random(self.shot_seed).sample(pool, self.shots)


def is_right(text: str, answer: str, rule: AnswerRule = AnswerRule.default) -> bool:
    """Whether the number that a generated text gives as its answer is the right one."""
    text = said(text, unfinished=rule.harness)
    if rule.harness:
        return same_as_in_harness(
            text.split("Q:")[0], answer, rule, f"{THE_ANSWER_IS} NUMBER.", False
        )
    text = text.split("\nQ:")[0]
    found = final_number(text) if rule is AnswerRule.lenient else marked_number(text)
    return found is not None and found == find_number(answer)


def _number(row: Any) -> str:
    return str(row["answer"]).rpartition("####")[2]
