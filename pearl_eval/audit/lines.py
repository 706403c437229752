"""The JSON objects of a file, each with its line: of JSON lines, a list, or one object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pearl_eval.audit.rows import Place, Unusable
from pearl_eval.errors import UserError, reason

_BLANK = " \t\r\n"


def read_objects(path: Path) -> Iterator[tuple[Place, dict[str, Any]] | Unusable]:
    """The objects of a file, in its order, and what in it is none.

    Raises
    ------
    UserError
        There is no such file, or there is nothing in it.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogatepass")
    except OSError as error:
        raise UserError(
            f"{path}: it can't be read ({reason(error)}); name a file of outputs"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: it is no text ({reason(error)}); expected JSON, one object a line"
        ) from error
    if not text.strip():
        raise UserError(f"{path}: it is empty; expected JSON, one object a line")
    for place, found in _values(str(path), text):
        if isinstance(found, dict):
            yield place, found
        else:
            what = found if isinstance(found, str) else f"a {type(found).__name__}"
            yield Unusable(place, f"expected a JSON object, got {what:.200}")


def _values(name: str, text: str) -> Iterator[tuple[Place, Any]]:
    whole = _whole(text)
    if isinstance(whole, dict):
        yield Place(name, _line(text, text.index("{"))), whole
        return
    if isinstance(whole, list):
        yield from _of_list(name, text)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(_BLANK):
            continue
        try:
            yield Place(name, number), json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Place(name, number), f"a damaged line ({reason(error)})"


def _whole(text: str) -> Any:
    """What the file is, if it is one object or one list; else ``None``."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_list(name: str, text: str) -> Iterator[tuple[Place, Any]]:
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while True:
        while text[at] in _BLANK + ",":
            at += 1
        if text[at] == "]":
            return
        line = _line(text, at)
        found, at = decoder.raw_decode(text, at)
        yield Place(name, line), found


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
