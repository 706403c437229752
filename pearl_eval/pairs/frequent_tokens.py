"""The tokens that a draft model's head is cut down to, beside its weights in its folder.

Whoever does not know of that file finds an ordinary model with a whole head.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from decoders.model.small_head import shrink_head
from pearl_eval.errors import UserError
from pearl_eval.results.journal import write_json

FREQUENT = "frequent_tokens.json"


def write_frequent(folder: Path, tokens: Tensor | None) -> None:
    """Leave the tokens in a model's folder; ``None`` for a whole head."""
    if tokens is None:
        (folder / FREQUENT).unlink(missing_ok=True)
    else:
        write_json(folder / FREQUENT, tokens.tolist())


def read_frequent(folder: Path) -> Tensor | None:
    """The tokens that a model's folder names; ``None`` where it names none.

    Raises
    ------
    UserError
        The file is damaged.
    """
    path = folder / FREQUENT
    if not path.is_file():
        return None
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
            raise ValueError("expected a list of token ids")
        return torch.tensor(tokens)
    except ValueError as error:
        raise _damaged(folder, error) from error


def cut_head(model: Any, folder: Path) -> None:
    """Cut a loaded model's head down to the tokens that its folder names, if it does.

    Raises
    ------
    UserError
        The file is damaged, or the head has no row for one of them.
    """
    tokens = read_frequent(folder)
    if tokens is None:
        return
    try:
        shrink_head(model, tokens)
    except ValueError as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: ValueError) -> UserError:
    return UserError(f"{folder / FREQUENT}: {error}; distil the draft model anew")
