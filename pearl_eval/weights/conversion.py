"""GGUF files converted into folders of safetensors: each once, into a cache."""

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
from transformers import PreTrainedConfig

from pearl_eval.errors import UserError, reason
from pearl_eval.sizes.memory import free_bytes
from pearl_eval.weights.gguf import Gguf

#: Raised when another thing is made of the same GGUF.
VERSION = 1
#: The last file of a conversion: the sizes of all others by name.
_SIZES = "sizes.json"
_LOCK = "lock"
_UNFINISHED = "unfinished-"
#: Beside the weights: the tokenizer, configs, headers.
_MARGIN = 64 * 2**20
_BYTES = 4
_MB = 10**6
_ELSEWHERE = "make room there, or choose another place by HF_HOME or HF_ASSETS_CACHE"


def cache() -> Path:
    """Where conversions are kept: with what the hub's libraries keep, where there is room for it.

    ``HF_HOME`` moves all of that, ``HF_ASSETS_CACHE`` a part that this belongs to.
    """
    return Path(constants.HF_ASSETS_CACHE) / "pearl_eval" / "gguf"


def converted_before(gguf: Gguf) -> Path | None:
    """The folder that a GGUF was converted into; ``None`` where it was not, or not wholly."""
    folder = _folder(gguf)
    try:
        sizes = json.loads((folder / _SIZES).read_text())
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return None
    return folder if whole else None


def converted(
    gguf: Gguf,
    tell: Callable[[str], None] = lambda text: None,
    check: Callable[[PreTrainedConfig], None] = lambda config: None,
) -> Path:
    """The folder that a GGUF is converted into: now, if it was not before.

    Of several processes that want it at once one converts it, while the others wait. Whatever
    fails or is killed leaves nothing that could be taken for a conversion, and the next one removes
    what a killed one left.

    Parameters
    ----------
    gguf
        What is converted.
    tell
        Is told what takes long.
    check
        Raises :class:`UserError` for the config of a model that is not worth the conversion.

    Raises
    ------
    UserError
        The file is no GGUF, or not whole, or of a model that can't be read; or disk or memory are
        too small.
    """
    found = converted_before(gguf)
    if found is not None:
        return found
    folder = _folder(gguf)
    try:
        with _alone(folder.parent, tell):
            if converted_before(gguf) is None:
                _convert(gguf, folder, tell, check)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{gguf.name} can't be converted into {folder.parent}: {reason(error)}; {_ELSEWHERE}"
        ) from error
    return folder


def _folder(gguf: Gguf) -> Path:
    return cache() / f"{gguf.digest()[:32]}-{VERSION}"


@contextlib.contextmanager
def _alone(root: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """While this holds no other process converts, so that what is unfinished is abandoned."""
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / _LOCK)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        tell("waiting for another process, which converts a GGUF")
        held = lock.acquire()
    with held:
        for abandoned in root.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _convert(
    gguf: Gguf,
    folder: Path,
    tell: Callable[[str], None],
    check: Callable[[PreTrainedConfig], None],
) -> None:
    unfinished = folder.parent / f"{_UNFINISHED}{os.getpid()}"
    source, made = unfinished / "source", unfinished / "made"
    try:
        source.mkdir(parents=True)
        made.mkdir()
        if len(gguf.parts) > 1:
            _check_disk(gguf, sum(path.stat().st_size for path in gguf.parts), unfinished)
        file = gguf.whole(source)
        size = _BYTES * gguf.weights(file)
        _check_disk(gguf, size, unfinished)
        _check_memory(gguf, size)
        tell(f"converting {gguf.name} once, into {folder} ({size / _MB:.0f} MB)")
        gguf.save(file, made, check)
        _finish(made)
        shutil.rmtree(folder, ignore_errors=True)  # one that is damaged
        made.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check_disk(gguf: Gguf, size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size + _MARGIN > free:
        raise UserError(
            f"{gguf.name}: to convert it takes {(size + _MARGIN) / _MB:.0f} MB in {folder.parent},"
            f" where {free / _MB:.0f} MB are free; {_ELSEWHERE}"
        )


def _check_memory(gguf: Gguf, size: int) -> None:
    free = free_bytes("cpu")
    if size > free:
        raise UserError(
            f"{gguf.name}: to convert it takes at least {size / _MB:.0f} MB of memory, of which"
            f" {free / _MB:.0f} MB are free; convert it on a larger machine, into the same"
            f" {constants.HF_ASSETS_CACHE}"
        )


def _finish(folder: Path) -> None:
    """Let whoever may read the folder read its files, and note how large these are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(folder.stat().st_mode & 0o666)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    (folder / _SIZES).write_text(json.dumps(sizes, indent=2) + "\n")
