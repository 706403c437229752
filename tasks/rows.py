"""Rows of a task's data: from a local file, or from the Hugging Face hub."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What each required field of a row must be.
Fields = Mapping[str, type]
#: Raises ``ValueError`` for a row that won't do for another reason.
Check = Callable[[dict[str, Any]], None]


@dataclass
class Hub:
    """A data set on the Hugging Face hub, as ``datasets.load_dataset`` takes it.

    Parameters
    ----------
    path
        Id of the data set, or what reads ``files``: ``json``, or ``csv`` with tabs.
    name
        Its configuration.
    split
        Its split.
    revision
        Commit hash or branch.
    files
        The file, such as ``hf://datasets/ID@REVISION/FILE``.
    """

    path: str
    name: str | None = None
    split: str = "test"
    revision: str | None = None
    files: str | None = None


class Rows(Sequence[dict[str, Any]]):
    """Rows and where they are from. ``sha256`` is of their content, whatever format it came in."""

    def __init__(self, rows: Sequence[dict[str, Any]], source: str) -> None:
        self._rows = rows
        self.source = source
        content = json.dumps(list(rows), sort_keys=True, ensure_ascii=False)
        self.sha256 = hashlib.sha256(content.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]


def load_rows(
    data: str | None,
    hub: Hub | None,
    fields: Fields,
    setting: str,
    unique: str | None = None,
    check: Check | None = None,
) -> Rows:
    """The rows of a local file if one is given, else of the hub.

    Parameters
    ----------
    data
        A JSON-lines or tab-separated file.
    hub
        Where to find them without one.
    fields
        What every row must have.
    setting
        The setting that ``data`` is, for what errors say.
    unique
        A field that no two rows may share.
    check
        What else a row must pass.

    Raises
    ------
    ValueError
        Names file and line of a row that is not as it must be, or says what to give.
    OSError
        The file can't be read.
    """
    if data is not None:
        return read_rows(data, fields, unique, check)
    if hub is None:
        raise ValueError(f"{setting} is missing: give a JSON-lines or tab-separated file")
    return _hub_rows(hub, fields, setting, unique, check)


def read_rows(
    path: str, fields: Fields, unique: str | None = None, check: Check | None = None
) -> Rows:
    """The rows of a local file: ``.tsv`` has the fields' values in their order, all else is JSON
    lines. See ``load_rows``."""
    try:
        # Not by splitlines: a text may have other signs that end a line, such as U+2028.
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    parse = _tsv if path.endswith(".tsv") else _json_lines
    return _checked(parse(path, lines, fields), path, fields, unique, check)


def _json_lines(
    path: str, lines: Sequence[str], fields: Fields
) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: not JSON ({error})") from None
        yield where, row if isinstance(row, dict) else {}


def _tsv(path: str, lines: Sequence[str], fields: Fields) -> Iterator[tuple[str, dict[str, Any]]]:
    # Quotation marks are the texts' own.
    # csv's own limit is there to bound memory, and the whole file is in it already.
    csv.field_size_limit(max(csv.field_size_limit(), *map(len, lines)))
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            values = next(csv.reader([line], "excel-tab", quoting=csv.QUOTE_NONE), [])
        except csv.Error as error:  # Python 3.10 takes no NUL
            raise ValueError(f"{where}: not tab-separated ({error})") from None
        if values and len(values) != len(fields):
            expected = f"{len(fields)} ({', '.join(fields)})"
            raise ValueError(f"{where}: {len(values)} columns, not {expected}")
        if values:
            yield where, dict(zip(fields, values, strict=True))


def _hub_rows(
    hub: Hub, fields: Fields, setting: str, unique: str | None, check: Check | None
) -> Rows:
    # Slow to import, and of no use where a file is given.
    import datasets

    name = hub.files or f"{hub.path}@{hub.revision or 'main'}"
    arguments: dict[str, Any] = {"revision": hub.revision}
    if hub.files:
        arguments = {"data_files": hub.files, "split": "train"}
    if hub.path == "csv":
        arguments |= {
            "delimiter": "\t",
            "column_names": list(fields),
            "quoting": csv.QUOTE_NONE,
        }
    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(hub.path, hub.name, **{"split": hub.split} | arguments)
    except Exception as error:
        # Whatever the library raises, the user has the same two ways to go on.
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{name} can't be loaded from the Hugging Face hub ({type(error).__name__}: {reason});"
            f" get on a network that reaches it, or give a local file: {setting}=PATH"
        ) from error
    found = ((f"{name}, row {i}", dict(row)) for i, row in enumerate(loaded))
    return _checked(found, name, fields, unique, check)


def _check_unicode(where: str, row: dict[str, Any]) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"{where}: {half!r} is half of a character, so no Unicode text") from None


def _checked(
    found: Iterator[tuple[str, dict[str, Any]]],
    source: str,
    fields: Fields,
    unique: str | None,
    check: Check | None,
) -> Rows:
    rows: list[dict[str, Any]] = []
    first: dict[Any, str] = {}
    for where, row in found:
        missing = [name for name in fields if name not in row]
        if missing:
            has = ", ".join(map(repr, row)) or "none"
            raise ValueError(
                f"{where}: no field {', '.join(map(repr, missing))} (its fields: {has})"
            )
        _check_unicode(where, row)
        for name, kind in fields.items():
            if not isinstance(row[name], kind):
                raise ValueError(
                    f"{where}: {name} must be a {kind.__name__}, got {row[name]!r:.60}"
                )
        if unique is not None and row[unique] in first:
            raise ValueError(
                f"{where}: {unique} {row[unique]!r} is already that of {first[row[unique]]}"
            )
        if check is not None:
            try:
                check(row)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
        first[row[unique] if unique else where] = where
        rows.append(row)
    if not rows:
        raise ValueError(f"{source}: no problems in it")
    return Rows(rows, source)
