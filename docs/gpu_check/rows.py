"""What a step tells: rows of the table, each on disk as soon as it is known."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

#: Environment variables that a step finds its way by: the file for its rows, the folder for its
#: files, and whether this is a rehearsal on a CPU.
ROWS, FOLDER, REHEARSAL = "GPU_CHECK_ROWS", "GPU_CHECK_FOLDER", "PEARL_EVAL_GPU_REHEARSAL"


@dataclass(frozen=True)
class Finding:
    """One line of the table. ``value`` is what was found, ``note`` what is to be known of it."""

    step: str
    what: str
    value: str
    note: str = ""


def tell(what: str, value: str, note: str = "") -> None:
    """Add a row to this step's, and say it. What was told stays, whatever becomes of the step."""
    print(f"{what}: {value}" + (f" ({note})" if note else ""), flush=True)
    if ROWS in os.environ:
        with Path(os.environ[ROWS]).open("a") as file:
            file.write(json.dumps([what, value, note]) + "\n")


def read_rows(path: Path, step: str) -> list[Finding]:
    """The rows that a step has told; a last one that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(Finding(step, *json.loads(line)))
        except (ValueError, TypeError):
            continue
    return rows


def rehearsed() -> bool:
    """Whether there is no GPU, and tiny shapes on the CPU stand in for what would run on one."""
    return bool(os.environ.get(REHEARSAL))


def folder() -> Path:
    """Where a step's files go."""
    return Path(os.environ[FOLDER])


def as_dicts(rows: list[Finding]) -> list[dict[str, str]]:
    return [asdict(row) for row in rows]


def table(rows: list[Finding]) -> str:
    """Rows under headings, in columns as wide as what they hold; the last is not padded."""
    heading = Finding("step", "what", "result", "note")
    every = [(row.step, row.what, row.value, row.note) for row in [heading, *rows]]
    widths = [max(len(row[column]) for row in every) for column in range(3)]
    lines = [
        "  ".join([*(text.ljust(w) for text, w in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in every
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
