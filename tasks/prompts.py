"""Prompts of the user's own: texts to go on with, messages, dialogues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tasks.mt_bench import check_turns
from tasks.rows.files import is_text, read_texts
from tasks.rows.messages import Conversation, read_messages
from tasks.rows.rows import Rows, checked_rows, read_rows
from tasks.scoring.answers import said
from tasks.scoring.score import UNSCORED, Score
from tasks.task import Problem, Task, count_texts

#: What a row's prompt may be given as.
_FORMS = ("prompt", "messages", "turns")
#: What a row may be named by, the first of these that it has.
_NAMES = ("id", "question_id", "task_id")
_TEXTS = ("answer", "category")


class Match(Enum):
    """When an answer is right: the text has it somewhere in it, or is just that."""

    contains = "contains"
    exact = "exact"

    def right(self, text: str, answer: str) -> bool:
        """Whether it is, in whatever way the text is broken into lines."""
        found = " ".join(said(text).split())
        return found == answer if self is Match.exact else answer in found


@dataclass
class Prompts(Task):
    """The prompts of a file, or of a folder of texts.

    Parameters
    ----------
    data
        File of rows with a ``prompt`` (a text), ``messages`` or ``turns``, and optionally an
        ``answer``, a ``category`` and an ``id``; a ``.txt`` file with a prompt a line; or a folder
        of ``.txt`` files with a prompt each.
    chat
        Whether a text is the message of a user, in the model's own chat format. Messages and turns
        are in any case.
    system_prompt
        What a dialogue begins with that has none of its own; empty for none.
    match
        When a text is right by its row's ``answer``. Those of rows without one are not scored.
    """

    accuracy_name = "accuracy"

    data: str | None = None
    chat: bool = False
    system_prompt: str = ""
    match: Match = Match.contains

    def texts(self) -> int | None:
        return count_texts(self.problems())

    def load(self) -> Sequence[Problem]:
        rows = _read(self.data)
        self.sources = {"data": rows}
        problems: list[Problem] = []
        first: dict[str, str] = {}
        for index, row in enumerate(rows):
            where = rows.where(index)
            own = _named(row)
            name = where.rpartition(" ")[2] if own is None else str(own)
            if name in first:
                raise ValueError(f"{where}: its id {name!r} is already that of {first[name]}")
            first[name] = where
            problems.append(self._problem(f"prompts/{name}", row))
        return problems

    def score(self, problem: Problem, text: str) -> Score:
        answer = _answer(problem.data)
        return Score(self.match.right(text, answer)) if answer else UNSCORED

    def _problem(self, task_id: str, row: dict[str, Any]) -> Problem:
        category = row.get("category") or ""
        asked = _asked(row)
        if isinstance(asked, str) and not self.chat:
            return Problem(task_id, asked, category, row)
        dialogue = Conversation((asked,)) if isinstance(asked, str) else asked
        return Problem(
            task_id,
            category=category,
            data=row,
            turns=dialogue.turns,
            system_prompt=dialogue.system_prompt or self.system_prompt,
            earlier=dialogue.earlier,
        )


def _read(data: str | None) -> Rows:
    if data is None:
        raise ValueError(
            "task.data is missing: give a file of prompts, such as JSON lines with a prompt each"
        )
    if data.lower().endswith((".tsv", ".tsv.gz")):
        raise ValueError(f"{data}: .tsv has no names of columns; give .csv or JSON lines")
    if is_text(data):
        return checked_rows(read_texts(data), data, {"prompt": str}, check=_check_row)
    return read_rows(data, {}, check=_check_row)


def _asked(row: dict[str, Any]) -> str | Conversation:
    """What is asked in a row: a text, or a dialogue to go on with. ``ValueError`` for no such."""
    given = [name for name in _FORMS if row.get(name) is not None]
    if len(given) != 1:
        has = ", ".join(map(repr, row)) or "none"
        raise ValueError(
            f"a row must have one of {', '.join(_FORMS)}, got {len(given)} (its fields: {has})"
        )
    (form,) = given
    if form == "messages":
        return read_messages(row[form])
    if form == "turns":
        check_turns(row)
        return Conversation(tuple(row[form]))
    prompt = row[form]
    if not isinstance(prompt, str):
        raise ValueError(f"prompt must be a str (or give messages, or turns), got {prompt!r:.60}")
    if not prompt.strip():
        raise ValueError("the prompt is empty, so there is nothing to continue; leave it out")
    return prompt


def _check_row(row: dict[str, Any]) -> None:
    asked = _asked(row)
    for name in _TEXTS:
        if row.get(name) is not None and not isinstance(row[name], str):
            raise ValueError(f"{name} must be a str, got {row[name]!r:.60}")
    if _answer(row) and isinstance(asked, Conversation) and len(asked.turns) > 1:
        raise ValueError(
            f"an answer is that of one text, and the model is to answer {len(asked.turns)} turns"
            " here: leave the answer out"
        )
    _named(row)


def _answer(row: Mapping[str, Any]) -> str:
    """What a text is held to; empty where there is nothing, as in a table's empty cell."""
    return " ".join((row.get("answer") or "").split())


def _named(row: dict[str, Any]) -> str | int | None:
    """What a row is named by; ``None`` where it has no name."""
    for name in _NAMES:
        value = row.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise ValueError(f"{name} must be a int or str, got {value!r:.60}")
        return value
    return None
