"""Folders of weights that are made once, and kept in a cache."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub import constants
from safetensors import SafetensorError

from pearl_eval.errors import UserError, reason

#: The last file of a folder: the sizes of all others by name.
_SIZES = "sizes.json"
_LOCK = "lock"
_UNFINISHED = "unfinished-"
#: Beside the weights: the tokenizer, configs, headers.
_MARGIN = 64 * 2**20
_MB = 10**6
_ELSEWHERE = "make room there, or choose another place by HF_HOME or HF_ASSETS_CACHE"

#: Is told what takes long.
Tell = Callable[[str], None]


def cache() -> Path:
    """Where folders are kept: with what the hub's libraries keep, where there is room for it.

    ``HF_HOME`` moves all of that, ``HF_ASSETS_CACHE`` a part that this belongs to.
    """
    return Path(constants.HF_ASSETS_CACHE) / "pearl_eval" / "weights"


def is_whole(folder: Path) -> bool:
    """Whether a folder was made, and has all that it was made with."""
    try:
        sizes = json.loads((folder / _SIZES).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def make_once(name: str, folder: Path, make: Callable[[Path, Path], None], tell: Tell) -> None:
    """Make a folder of the cache, unless it is there.

    Of several processes that want one at once one makes it, while the others wait. Whatever fails
    or is killed leaves nothing that could be taken for a folder that was made, and the next one
    removes what a killed one left.

    Parameters
    ----------
    name
        What errors call it.
    folder
        Where it comes to be.
    make
        Writes its files into the first of two empty folders; the second is for what it needs
        meanwhile.
    tell
        Is told what is waited for.

    Raises
    ------
    UserError
        ``make`` does, or the disk is full or can't be written to.
    """
    if is_whole(folder):
        return
    try:
        with _alone(folder.parent, tell):
            if not is_whole(folder):
                _make(folder, make)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{name} can't be converted into {folder.parent}: {reason(error)}; {_ELSEWHERE}"
        ) from error


def check_disk(name: str, size: int, folder: Path) -> None:
    """Refuse to write so many bytes of weights where there is no room for them."""
    free = shutil.disk_usage(folder).free
    if size + _MARGIN > free:
        raise UserError(
            f"{name}: to convert it takes {(size + _MARGIN) / _MB:.0f} MB in {cache()},"
            f" where {free / _MB:.0f} MB are free; {_ELSEWHERE}"
        )


@contextlib.contextmanager
def _alone(root: Path, tell: Tell) -> Iterator[None]:
    """While this holds no other process makes a folder, so that what is unfinished is abandoned."""
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / _LOCK)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        tell("waiting for another process, which converts weights")
        held = lock.acquire()
    with held:
        for abandoned in root.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _make(folder: Path, make: Callable[[Path, Path], None]) -> None:
    unfinished = folder.parent / f"{_UNFINISHED}{os.getpid()}"
    made, meanwhile = unfinished / "made", unfinished / "meanwhile"
    try:
        made.mkdir(parents=True)
        meanwhile.mkdir()
        make(made, meanwhile)
        _finish(made)
        shutil.rmtree(folder, ignore_errors=True)  # one that is damaged
        made.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _finish(folder: Path) -> None:
    """Let whoever may read the folder read its files, and note how large these are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(folder.stat().st_mode & 0o666)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    (folder / _SIZES).write_text(json.dumps(sizes, indent=2) + "\n")
