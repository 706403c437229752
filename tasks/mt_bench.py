"""MT-bench: 80 questions of two turns each, in eight categories (Zheng et al., 2023)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.rows.rows import Fields, Hub, load_rows
from tasks.task import Problem, Task

#: The answers in the format of FastChat's ``model_answer`` files.
MODEL_ANSWER = "model_answer.jsonl"
_FIELDS: Fields = {"question_id": (int, str), "turns": list}
_TURNS = 2


@dataclass
class MtBench(Task):
    """Dialogues, in the model's own chat format; MT-bench's are of two turns.

    No answer is right by itself, so ``correct`` is equality to the target model's own. For an LLM
    judge the answers are left as FastChat's ``gen_model_answer`` leaves them.

    Parameters
    ----------
    data
        File of rows with ``question_id`` and ``turns``, the user's messages; they may have a
        ``category``.
    hub
        The data set that is taken without one.
    system_prompt
        What every dialogue begins with; empty for none.
    """

    turns = _TURNS

    data: str | None = None
    hub: Hub | None = None
    system_prompt: str = ""

    def size(self) -> int | None:
        return super().size() if self.data else self.limit

    def load(self) -> Sequence[Problem]:
        rows = load_rows(
            self.data, self.hub, _FIELDS, "task.data", unique="question_id", check=check_turns
        )
        self.sources = {"data": rows}
        return [
            Problem(
                f"MT-bench/{row['question_id']}",
                category=row.get("category") or "",
                data=row,
                turns=tuple(row["turns"]),
                system_prompt=self.system_prompt,
            )
            for row in rows
        ]

    def lines(
        self, problem: Problem, texts: Sequence[str], model: str
    ) -> Mapping[str, dict[str, Any]]:
        line = {
            "question_id": problem.data["question_id"],
            "answer_id": uuid.uuid4().hex,
            "model_id": model,
            "choices": [{"index": 0, "turns": list(texts)}],
            "tstamp": time.time(),
        }
        return {MODEL_ANSWER: line}


def check_turns(row: dict[str, Any]) -> None:
    """Raise ``ValueError`` for a row whose turns are no messages, or whose category is no text."""
    turns, category = row["turns"], row.get("category")
    messages = turns if isinstance(turns, list) else []
    if not messages or not all(isinstance(one, str) and one.strip() for one in messages):
        raise ValueError(
            f"turns must be a list of messages, got {json.dumps(turns, default=str)[:80]}"
        )
    if category is not None and not isinstance(category, str):
        raise ValueError(f"category must be a str, got {category!r:.60}")
