"""Temporary files of a process, removed when it ends, or by the next one where it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing import util
from pathlib import Path

#: Of these folders alone: others of ours have to stay, as the one with the locks of cores.
_PREFIX = "pearl-tmp-"
#: Lower than what multiprocessing gives the removal of its own folder.
_LAST = -200
#: Sockets of :mod:`multiprocessing` lie below it, whose paths have 107 characters at most.
_LONGEST = 60
_SHORT = Path("/tmp")
#: This process's folder in each place where it wanted one.
_made: dict[Path, Path] = {}


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder in which this process and those it starts make their temporary files.

    Commands of one process share it. It is removed when the process ends; where this process is
    killed, by whichever of this user's processes next gets one: a folder's lock ends with the
    process that has it.
    """
    outer, outer_variable = tempfile.tempdir, os.environ.get("TMPDIR")
    parent = _place()
    if len(str(parent)) > _LONGEST and _SHORT.is_dir():
        parent = _SHORT
    _remove_abandoned(parent)
    folder = _made.get(parent)
    if folder is None or not folder.exists():
        folder, lock = _make(parent)
        _made[parent] = folder
        # After multiprocessing has removed its own folder in it, which it does at the very end.
        util.Finalize(None, _remove, (folder, lock), exitpriority=_LAST)
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = outer
        if outer_variable is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = outer_variable


def _place() -> Path:
    """Where temporary files belong.

    :mod:`tempfile` finds that out by writing a file there, which would stay where this process is
    killed at that moment. So it is asked only where no variable says it.
    """
    asked = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    named = tempfile.tempdir or next(filter(None, asked), str(_SHORT))
    if os.path.isdir(named) and os.access(named, os.W_OK | os.X_OK):
        return Path(named).absolute()
    return Path(tempfile.gettempdir())


def _remove(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _make(parent: Path) -> tuple[Path, int]:
    """A new folder and the file descriptor that has its lock."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        # Another process may take it for abandoned before it is locked, and remove it.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if folder.exists():
                    return folder, lock
            os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
