"""GGUF files converted into folders of safetensors: each once, into a cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants
from transformers import PreTrainedConfig

from pearl_eval.errors import UserError
from pearl_eval.sizes.memory import free_bytes
from pearl_eval.weights.cache import Tell, cache, check_disk, is_whole, make_once
from pearl_eval.weights.gguf import Gguf

#: Raised when another thing is made of the same GGUF.
VERSION = 1
_BYTES = 4
_MB = 10**6


def converted_before(gguf: Gguf) -> Path | None:
    """The folder that a GGUF was converted into; ``None`` where it was not, or not wholly."""
    folder = _folder(gguf)
    return folder if is_whole(folder) else None


def converted(
    gguf: Gguf,
    tell: Tell = lambda text: None,
    check: Callable[[PreTrainedConfig], None] = lambda config: None,
) -> Path:
    """The folder that a GGUF is converted into: now, if it was not before.

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
    folder = _folder(gguf)

    def make(made: Path, meanwhile: Path) -> None:
        if len(gguf.parts) > 1:
            check_disk(gguf.name, sum(path.stat().st_size for path in gguf.parts), meanwhile)
        file = gguf.whole(meanwhile)
        size = _BYTES * gguf.weights(file)
        check_disk(gguf.name, size, made)
        _check_memory(gguf, size)
        tell(f"converting {gguf.name} once, into {folder} ({size / _MB:.0f} MB)")
        gguf.save(file, made, check)

    make_once(gguf.name, folder, make, tell)
    return folder


def _folder(gguf: Gguf) -> Path:
    return cache() / f"{gguf.digest()[:32]}-{VERSION}"


def _check_memory(gguf: Gguf, size: int) -> None:
    free = free_bytes("cpu")
    if size > free:
        raise UserError(
            f"{gguf.name}: to convert it takes at least {size / _MB:.0f} MB of memory, of which"
            f" {free / _MB:.0f} MB are free; convert it on a larger machine, into the same"
            f" {constants.HF_ASSETS_CACHE}"
        )
