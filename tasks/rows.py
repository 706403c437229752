"""Rows of JSON-lines files, with errors that name file and line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_rows(path: str, required: Sequence[str]) -> list[dict[str, Any]]:
    """Read a JSON-lines file whose rows must have the ``required`` fields.

    Raises ``ValueError`` that names file and line; ``OSError`` where the file can't be read.
    """
    rows = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
        missing = [name for name in required if not isinstance(row, dict) or name not in row]
        if missing:
            raise ValueError(f"{path}, line {number}: no field {', '.join(map(repr, missing))}")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: no problems in it")
    return rows
