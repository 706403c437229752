"""SPEED-Bench: prompts by what they are about, and by length and entropy (NVIDIA, 2026)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from tasks.mt_bench import check_turns
from tasks.rows.files import find_file
from tasks.rows.messages import read_messages
from tasks.rows.rows import Fields, Hub, Rows, load_rows
from tasks.scoring.score import UNSCORED, Score
from tasks.task import Problem, Task, count_texts

log = logging.getLogger(__name__)

_THROUGHPUT = "throughput_"
#: The data set's configurations, as they are called there.
SPLITS = ("qualitative", *(f"{_THROUGHPUT}{length}" for length in ("1k", "2k", "8k", "16k", "32k")))
#: What a file of a split is called in a folder of its own.
_STEMS = ("test", "test-00000-of-00001")
#: What a text begins with that is not in the data set itself, for the licence of its source.
PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE USING SPECDEC_BENCH"
_FIELDS: Fields = {"question_id": str, "category": str, "turns": list}


class Placeholders(Enum):
    """What becomes of rows whose text is not in the data set itself."""

    refuse = "refuse"
    leave_out = "leave_out"


@dataclass
class SpeedBench(Task):
    """Dialogues of one or more turns, in the model's own chat format. No answer is scored.

    A qualitative row's category is what it is about; a throughput row's is its length and its
    tier of entropy, such as ``1k low_entropy``. ``limit`` takes as many of each as of every other.

    Parameters
    ----------
    splits
        Configurations of the data set, in this order: ``qualitative``, ``throughput_1k``, ….
    categories
        Those of the data that are asked; ``None`` takes all.
    placeholders
        What becomes of rows whose text is not in the data set itself.
    data
        Folder that NVIDIA's scripts or the hub leave, or the file of one split.
    hub
        The data set that is taken without one; its configuration is the split.
    system_prompt
        What every dialogue begins with; empty for none.
    """

    accuracy_name = "accuracy"

    max_new_tokens: int = 4096
    splits: list[str] = field(default_factory=lambda: ["qualitative"])
    categories: list[str] | None = None
    placeholders: Placeholders = Placeholders.refuse
    data: str | None = None
    hub: Hub | None = None
    system_prompt: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.splits or not set(self.splits) <= set(SPLITS):
            raise ValueError(
                f"task.splits are some of {', '.join(SPLITS)}, got {list(self.splits)}"
            )

    def size(self) -> int | None:
        return super().size() if self.data else self.limit

    def texts(self) -> int | None:
        return count_texts(self.problems()) if self.data else None

    def load(self) -> Sequence[Problem]:
        problems = []
        known: dict[str, None] = {}
        for split in self.splits:
            rows = self._read(split)
            self.sources[split] = rows
            known |= dict.fromkeys(row["category"] for row in rows)
            asked = [
                (rows.where(index), row)
                for index, row in enumerate(rows)
                if self.categories is None or row["category"] in self.categories
            ]
            problems += [self._problem(split, row) for row in self._whole(split, asked)]
        unknown = [one for one in self.categories or () if one not in known]
        if unknown:
            raise ValueError(
                f"task.categories: no row of {', '.join(self.splits)} is of {unknown[0]!r};"
                f" there are {', '.join(known)}"
            )
        return problems

    def score(self, problem: Problem, text: str) -> Score:
        return UNSCORED

    def _read(self, split: str) -> Rows:
        data = None if self.data is None else _file(self.data, split, self.splits)
        hub = self.hub and replace(self.hub, name=split)
        unique = "question_id"
        return load_rows(data, hub, _FIELDS, "task.data", unique, check_turns, _with_turns)

    def _whole(self, split: str, asked: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        """The rows that have their text. ``ValueError`` for one that has not, or where none has."""
        whole = [row for _, row in asked if not _lacks_text(row)]
        if len(whole) == len(asked):
            return whole
        where = next(where for where, row in asked if _lacks_text(row))
        lacking = f"the texts of {len(asked) - len(whole)} of {len(asked)} rows"
        if self.placeholders is Placeholders.refuse or not whole:
            out = ", or leave such rows out: task.placeholders=leave_out" if whole else ""
            raise ValueError(
                f"{where}: {lacking} are not in the data set itself, for the licences of their"
                f" sources; fetch them by NVIDIA's prepare.py (docs/tasks.md){out}"
            )
        log.warning("%s: left out, without %s: %s", split, lacking, where)
        return whole

    def _problem(self, split: str, row: dict[str, Any]) -> Problem:
        length = split.removeprefix(_THROUGHPUT)
        category = row["category"]
        return Problem(
            f"SPEED-Bench/{split}/{row['question_id']}",
            category=category if length == split else f"{length} {category}",
            data=row,
            turns=tuple(row["turns"]),
            system_prompt=self.system_prompt,
        )


def _file(data: str, split: str, splits: Sequence[str]) -> str:
    """The file of a split, where ``data`` is a folder."""
    folder = Path(data)
    alone = len(splits) == 1
    if alone and not folder.is_dir():
        return data
    folders = [(folder, split), *((folder / split, stem) for stem in _STEMS)]
    folders += [(folder, stem) for stem in _STEMS if alone]
    paths = [find_file(str(one), stem) for one, stem in folders]
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise ValueError(
            f"task.data={data} has no file of {split}: expected {folder / split}.jsonl (as NVIDIA's"
            f" prepare.py leaves it) or {folder / split / 'test.parquet'} (as prepare_data.py does)"
        )
    return str(found)


def _with_turns(row: dict[str, Any]) -> dict[str, Any]:
    """The fields that are needed; messages, as prepare.py writes them, as turns."""
    needed = {name: row[name] for name in _FIELDS if name in row}
    if "turns" not in row and row.get("messages") is not None:
        dialogue = read_messages(row["messages"])
        if dialogue.earlier or dialogue.system_prompt:
            raise ValueError("messages must be the user's alone, as those of SPEED-Bench are")
        return needed | {"turns": list(dialogue.turns)}
    return needed


def _lacks_text(row: dict[str, Any]) -> bool:
    return any(turn.startswith(PLACEHOLDER) for turn in row["turns"])
