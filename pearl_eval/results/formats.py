"""The format of a run's files: which version they are of, and what is done with another.

A file says its version itself: an object of JSON and each line of JSON lines under the name
``format_version``, a Parquet file in its metadata. Files without one were written before there was
any, and are of version 0. They are brought into today's shape as they are read
(``pearl_eval.results.version_0``), so nothing else knows of earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pearl_eval.errors import UserError

#: The version of what is written now, and the newest that can be read.
VERSION = 1
#: Under which name a file says its version.
NAME = "format_version"

Content = TypeVar("Content", bound="dict[str, Any]")


def versioned(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file, or a line of one, with its version."""
    return {NAME: VERSION} | content


def current(content: Content, path: Path, upgrade: Callable[[Content], Content]) -> Content:
    """What was read of a file in today's shape, without its version.

    ``upgrade`` makes version 1 of version 0. :class:`UserError` where it is of a newer version.
    """
    return upgrade(content) if taken_version(content, path) == 0 else content


def taken_version(content: dict[str, Any], path: Path) -> int:
    """The version that an object says it has, which is taken out of it."""
    return known_version(content.pop(NAME, 0), path)


def known_version(version: object, path: Path) -> int:
    """The version that a file says it has. :class:`UserError` for one that is not known."""
    if type(version) is not int or version < 0:
        raise UserError(f"{path} is damaged ({NAME!r} is {version!r:.40}, expected a number)")
    if version > VERSION:
        raise UserError(
            f"{path} has format version {version}, and the newest that this pearl_eval knows is"
            f" {VERSION}: update pearl_eval to read it"
        )
    return version
