"""Files of rows, in whatever format they come."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: Rows, and where each of them is: lines are counted from 1, rows of a table from 0.
Found = Iterator[tuple[str, dict[str, Any]]]
#: What files of rows are called. JSON is taken for lines of it unless it is one array.
_SUFFIXES = (".tsv", ".jsonl", ".json", ".ndjson", ".csv", ".parquet")
_GZIP = ".gz"
#: What plain text is called.
_TEXT = ".txt"


def is_own(path: str) -> bool:
    """Whether a file is one that comes with the project."""
    return Path(path).resolve().is_relative_to(Path(__file__).resolve().parents[1] / "data")


def find_file(folder: str, stem: str) -> Path:
    """The file of rows that is called ``stem``, whatever its format; ``.tsv`` if there is none."""
    names = [f"{stem}{suffix}{zipped}" for suffix in _SUFFIXES for zipped in ("", _GZIP)]
    paths = [Path(folder) / name for name in names]
    return next((path for path in paths if path.exists()), paths[0])


def read_file(path: str, columns: Sequence[str]) -> Found:
    """The rows of a file.

    ``.parquet`` is a table, ``.csv`` one with the names of its columns in its first line; ``.tsv``
    has ``columns`` in their order and no names. All else is JSON: an array of rows, or one a line.
    ``.gz`` behind any of these is unpacked, a byte order mark passed over.

    Raises
    ------
    ValueError
        Names the file, and the line or row, that is not as it must be.
    OSError
        The file can't be read.
    """
    name, data = path.lower().removesuffix(_GZIP), _unpacked(path)
    if name.endswith(".parquet"):
        return _parquet(path, data)
    text = _decoded(path, data)
    if name.endswith(".csv"):
        return _csv(path, text)
    text = _one_kind_of_line(text)
    if name.endswith(".tsv"):
        return _tsv(path, text.split("\n"), columns)
    array = _json_array(text)
    return _json_lines(path, text.split("\n")) if array is None else _rows(path, array)


def is_text(path: str) -> bool:
    """Whether prompts are read from a path as plain text: a folder, or a file that says so."""
    return Path(path).is_dir() or path.lower().removesuffix(_GZIP).endswith(_TEXT)


def read_texts(path: str) -> Found:
    """Rows with a ``prompt``: each line of a text file, or each text file of a folder, by name.

    Empty lines are passed over. The last line's end is no part of a prompt that is a whole file,
    and the file's name is its ``id``.

    Raises
    ------
    ValueError
        Names the file that is not as it must be, or the folder that has none.
    OSError
        The file can't be read.
    """
    if not Path(path).is_dir():
        lines = _one_kind_of_line(_decoded(path, _unpacked(path))).split("\n")
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{path}, line {number}", {"prompt": line}
        return
    files = sorted(one for one in Path(path).iterdir() if one.is_file() and is_text(one.name))
    if not files:
        raise ValueError(f"{path}: no {_TEXT} file in it; of a folder each is a prompt")
    for one in files:
        text = _one_kind_of_line(_decoded(str(one), _unpacked(str(one))))
        yield str(one), {"prompt": text.removesuffix("\n"), "id": one.name}


def _unpacked(path: str) -> bytes:
    data = Path(path).read_bytes()
    if not path.lower().endswith(_GZIP):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not gzip, or not all of it ({error})") from None


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); rows are read from"
            f" {', '.join(_SUFFIXES)}, and these with {_GZIP} behind"
        ) from None


def _one_kind_of_line(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _rows(path: str, rows: Sequence[Any]) -> Found:
    for number, row in enumerate(rows):
        yield f"{path}, row {number}", row if isinstance(row, dict) else {}


def _json_array(text: str) -> list[Any] | None:
    """The rows of a JSON array; ``None`` where a text is none."""
    if not text.lstrip().startswith("["):
        return None
    try:
        array = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return array if all(isinstance(row, dict) for row in array) else None


def _json_lines(path: str, lines: Sequence[str]) -> Found:
    # Not by splitlines: a text may have other signs that end a line, such as U+2028.
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON ({error})") from None
        yield where, row if isinstance(row, dict) else {}


def _allow_long_fields(texts: Sequence[str]) -> None:
    """csv's own limit is there to bound memory, and the whole file is in it already."""
    csv.field_size_limit(max(csv.field_size_limit(), *map(len, texts)))


def _tsv(path: str, lines: Sequence[str], columns: Sequence[str]) -> Found:
    # Quotation marks are the texts' own.
    _allow_long_fields(lines)
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            values = next(csv.reader([line], "excel-tab", quoting=csv.QUOTE_NONE), [])
        except csv.Error as error:  # Python 3.10 takes no NUL
            raise ValueError(f"{where}: not tab-separated ({error})") from None
        if values and len(values) != len(columns):
            expected = f"{len(columns)} ({', '.join(columns)})"
            raise ValueError(f"{where}: {len(values)} columns, not {expected}")
        if values:
            yield where, dict(zip(columns, values, strict=True))


def _csv(path: str, text: str) -> Found:
    _allow_long_fields([text])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] | None = None
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{where}: not comma-separated ({error})") from None
        if values is None:
            return
        if names is None:
            names = values
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{where}: two columns are called {twice[0]!r}")
        elif values and len(values) != len(names):
            raise ValueError(f"{where}: {len(values)} columns, not {len(names)} as in the first")
        elif values:
            yield where, dict(zip(names, values, strict=True))


def _parquet(path: str, data: bytes) -> Found:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _rows(path, pq.read_table(io.BytesIO(data)).to_pylist())
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a Parquet file ({reason})") from None
