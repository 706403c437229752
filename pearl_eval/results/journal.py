"""Files that survive being killed: lines that are whole or cut off, other files whole or old."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError


class Journal:
    """A file of JSON lines that is only added to, by one process at a time.

    What is written is on disk when ``append`` returns. A last line that was torn, when the process
    or the machine died, is cut off when the file is next opened.

    Parameters
    ----------
    path
        The file; made where there is none. OSError where it can't be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a+b")

    def lock(self) -> bool:
        """Take the file for this process, until it closes it or ends; whether that worked."""
        with _named(self.path):
            return locked(self._file.fileno())

    def read(self) -> list[dict[str, Any]]:
        """The lines so far. :class:`UserError` where one is damaged that is not the last."""
        self._file.seek(0)
        content = self._file.read()
        lines = content.split(b"\n")
        # Behind the last line end is what was torn, or nothing.
        end = len(content) - len(lines.pop())
        found = []
        for number, line in enumerate(lines, start=1):
            try:
                one = json.loads(line)
                assert isinstance(one, dict)
            except (ValueError, AssertionError):
                if number < len(lines):
                    raise UserError(
                        f"{self.path}, line {number}, is damaged: mend it from a copy, or move the"
                        " folder away and run anew"
                    ) from None
                end -= len(line) + 1
            else:
                found.append(one)
        if end < len(content):
            self._file.truncate(end)
        return found

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add lines."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with _named(self.path):
            self._file.write(text.encode("utf-8", "surrogatepass"))
            self._file.flush()
            os.fsync(self._file.fileno())

    def keep(self, lines: int) -> None:
        """Cut off all but the first ``lines``: in one go, so that no fault leaves less."""
        self._file.seek(0)
        kept = sum(map(len, itertools.islice(self._file, lines)))
        with _named(self.path):
            self._file.truncate(kept)

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Have a folder for this process; whether it has: another process may.

    Not every network file system locks folders: there all have it.
    """
    file = os.open(folder, os.O_RDONLY)
    try:
        try:
            ours = locked(file)
        except OSError:
            ours = True
        yield ours
    finally:
        os.close(file)


def locked(file: int) -> bool:
    """Take a file for this process, until it is closed or the process ends; whether that worked.

    The lock is on the very file or folder that it guards, so nothing is left beside it and nobody
    needs to write there: what a library's lock files would ask for.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors say which file it was: one that is open has no name for the system."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file as a whole or not at all: the body of a ``with`` gets where to write it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        yield unfinished
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as a whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
