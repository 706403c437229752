"""Fingerprints of weights, without reading all of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pearl_eval.pairs.frequent_tokens import FREQUENT

_BLOCK = 1 << 16
#: Blocks that are read of a file, evenly spread; a small file is read as a whole.
_BLOCKS = 64


def folder_fingerprint(folder: Path) -> str:
    """A fingerprint of the weight files of a folder, its config, and the tokens of a small head.

    Of each file: its name, size, and blocks spread over it. So a 140 GB model takes a second, and
    other weights of the same shape do not pass for it.
    """
    found = hashlib.sha256()
    tokens = folder.glob(FREQUENT)
    for path in sorted([*folder.glob("*.safetensors"), *tokens, folder / "config.json"]):
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        step = max(_BLOCK, size // _BLOCKS)
        with path.open("rb") as file:
            for start in range(0, size, step):
                file.seek(start)
                found.update(file.read(_BLOCK))
    return found.hexdigest()[:16]
