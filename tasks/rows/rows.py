"""Rows of a task's data: from a local file, or from the Hugging Face hub."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.rows.files import Found, read_file

#: What each required field of a row must be.
Fields = Mapping[str, type | tuple[type, ...]]
#: Raises ``ValueError`` for a row that won't do for another reason.
Check = Callable[[dict[str, Any]], None]
#: Makes of a row as it is found one as it is needed. Raises ``ValueError`` where it can't.
Adapt = Callable[[dict[str, Any]], dict[str, Any]]


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
        The file, such as ``hf://datasets/ID@REVISION/FILE``, or one elsewhere: ``https://…``.
    """

    path: str
    name: str | None = None
    split: str = "test"
    revision: str | None = None
    files: str | None = None


class Rows(Sequence[dict[str, Any]]):
    """Rows and where they are from. ``sha256`` is of their content, whatever format it came in."""

    def __init__(
        self, rows: Sequence[dict[str, Any]], source: str, places: Sequence[str] = ()
    ) -> None:
        self._rows = rows
        self._places = places
        self.source = source
        self.sha256 = hashlib.sha256(_text(list(rows)).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def where(self, index: int) -> str:
        """File and line of a row, or what else tells where it is."""
        return self._places[index] if self._places else f"{self.source}, row {index}"


def load_rows(
    data: str | None,
    hub: Hub | None,
    fields: Fields,
    setting: str,
    unique: str | None = None,
    check: Check | None = None,
    adapt: Adapt | None = None,
) -> Rows:
    """The rows of a local file if one is given, else of the hub.

    Parameters
    ----------
    data
        A file, see :func:`tasks.rows.files.read_file`.
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
    adapt
        What becomes of a row before all that.

    Raises
    ------
    ValueError
        Names file and row of what is not as it must be, or says what to give.
    OSError
        The file can't be read.
    """
    if data is not None:
        return read_rows(data, fields, unique, check, adapt)
    if hub is None:
        raise ValueError(f"{setting} is missing: give a file of rows, such as JSON lines")
    return checked_rows(_hub_rows(hub, fields, setting), _name(hub), fields, unique, check, adapt)


def read_rows(
    path: str,
    fields: Fields,
    unique: str | None = None,
    check: Check | None = None,
    adapt: Adapt | None = None,
) -> Rows:
    """The rows of a local file. See ``load_rows``."""
    return checked_rows(read_file(path, list(fields)), path, fields, unique, check, adapt)


def _name(hub: Hub) -> str:
    return hub.files or f"{hub.path}@{hub.revision or 'main'}"


def _hub_rows(hub: Hub, fields: Fields, setting: str) -> Found:
    # Slow to import, and of no use where a file is given.
    import datasets

    name = _name(hub)
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
        whence = "" if name.startswith("https:") else " from the Hugging Face hub"
        raise ValueError(
            f"{name} can't be loaded{whence} ({type(error).__name__}: {reason}); get on a network"
            f" that reaches it, or give a local file: {setting}=PATH"
        ) from error
    return ((f"{name}, row {i}", dict(row)) for i, row in enumerate(loaded))


def _text(content: Any) -> str:
    """As JSON; what a table has beyond that, such as dates, as it is printed."""
    return json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)


def _check_unicode(where: str, row: dict[str, Any]) -> None:
    try:
        _text(row).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"{where}: {half!r} is half of a character, so no Unicode text") from None


def _check_fields(where: str, row: dict[str, Any], fields: Fields) -> None:
    missing = [name for name in fields if name not in row]
    if missing:
        has = ", ".join(map(repr, row)) or "none"
        raise ValueError(f"{where}: no field {', '.join(map(repr, missing))} (its fields: {has})")
    _check_unicode(where, row)
    for name, kinds in fields.items():
        if not isinstance(row[name], kinds):
            wanted = kinds if isinstance(kinds, tuple) else (kinds,)
            kind = " or ".join(one.__name__ for one in wanted)
            raise ValueError(f"{where}: {name} must be a {kind}, got {row[name]!r:.60}")


def checked_rows(
    found: Iterator[tuple[str, dict[str, Any]]],
    source: str,
    fields: Fields,
    unique: str | None = None,
    check: Check | None = None,
    adapt: Adapt | None = None,
) -> Rows:
    """Rows that were found in ``source``, as they must be. See ``load_rows``."""
    rows: list[dict[str, Any]] = []
    first: dict[Any, str] = {}
    places = []
    for where, as_found in found:
        try:
            row = as_found if adapt is None else adapt(as_found)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        _check_fields(where, row, fields)
        if unique is not None and row[unique] in first:
            raise ValueError(
                f"{where}: {unique} {row[unique]!r} is already that of {first[row[unique]]}"
            )
        if check is not None:
            try:
                check(row)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
        if unique is not None:
            first[row[unique]] = where
        rows.append(row)
        places.append(where)
    if not rows:
        raise ValueError(f"{source}: no problems in it")
    return Rows(rows, source, places)
