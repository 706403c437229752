"""Spec-Bench: 480 prompts of six subtasks (Xia et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.mt_bench import MtBench, check_turns
from tasks.rows.rows import Fields, load_rows
from tasks.scoring.score import UNSCORED, Score
from tasks.task import Problem, count_texts

#: MT-bench's categories, which are one subtask.
_MT_BENCH = (
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
)
#: The subtasks as the authors' scripts call them, with their rows' categories.
SUBTASKS = {
    "mt_bench": _MT_BENCH,
    "translation": ("translation",),
    "summarization": ("summarization",),
    "qa": ("qa",),
    "math_reasoning": ("math_reasoning",),
    "rag": ("rag",),
}
_SUBTASK_OF = {category: name for name, own in SUBTASKS.items() for category in own}
#: Rows of each subtask, and how many of its turns a row of MT-bench has.
_ROWS, _TURNS = 80, 2
_FIELDS: Fields = {"question_id": (int, str), "category": str, "turns": list}


@dataclass
class SpecBench(MtBench):
    """Dialogues of one or two turns, in the model's own chat format; a category for each subtask.

    No answer is scored, as its authors score none. ``limit`` takes as many problems of each subtask
    as of every other, and of MT-bench's categories within theirs.

    Parameters
    ----------
    subtasks
        Those that are asked.
    by_subtask
        Whether MT-bench's eight categories are one, as the authors report them, or eight.
    """

    accuracy_name = "accuracy"

    max_new_tokens: int = 1024
    subtasks: list[str] = field(default_factory=lambda: list(SUBTASKS))
    by_subtask: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.subtasks or not set(self.subtasks) <= set(SUBTASKS):
            raise ValueError(
                f"task.subtasks are some of {', '.join(SUBTASKS)}, got {list(self.subtasks)}"
            )

    def size(self) -> int | None:
        if self.data:
            return len(self.problems())
        whole = _ROWS * len(set(self.subtasks))
        return whole if self.limit is None else min(whole, self.limit)

    def texts(self) -> int | None:
        if self.data:
            return count_texts(self.problems())
        size, subtasks = self.size() or 0, len(set(self.subtasks))
        # Of the subtasks MT-bench comes first, so what is left over is its.
        dialogues = -(-size // subtasks) if "mt_bench" in self.subtasks else 0
        return size + (_TURNS - 1) * dialogues

    def load(self) -> Sequence[Problem]:
        rows = load_rows(
            self.data,
            self.hub,
            _FIELDS,
            "task.data",
            unique="question_id",
            check=_check_row,
            adapt=_needed,
        )
        self.sources = {"data": rows}
        asked = [row for row in rows if _SUBTASK_OF[row["category"]] in self.subtasks]
        if not asked:
            raise ValueError(
                f"{rows.source}: no problem in it is of task.subtasks={list(self.subtasks)}"
            )
        return [
            Problem(
                f"Spec-Bench/{row['question_id']}",
                category=_SUBTASK_OF[row["category"]] if self.by_subtask else row["category"],
                data=row,
                turns=tuple(row["turns"]),
                system_prompt=self.system_prompt,
            )
            for row in asked
        ]

    def kinds(self) -> tuple[Callable[[Problem], Any], ...]:
        return (
            lambda problem: _SUBTASK_OF[problem.data["category"]],
            lambda problem: problem.data["category"],
        )

    def score(self, problem: Problem, text: str) -> Score:
        return UNSCORED


def _needed(row: dict[str, Any]) -> dict[str, Any]:
    """Without ``reference``, whose values are of several types, and which scores nothing."""
    return {name: row[name] for name in _FIELDS if name in row}


def _check_row(row: dict[str, Any]) -> None:
    check_turns(row)
    if row["category"] not in _SUBTASK_OF:
        raise ValueError(
            f"category must be one of {', '.join(_SUBTASK_OF)}, got {row['category']!r:.60}"
        )
