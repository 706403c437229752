"""Texts that a target made before, in other folders of ``pearl-eval distill``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError

#: Within a folder of ``distill``: what a draft model is made of, and by which settings.
WORK = "work"
TEXTS, SETTINGS = f"{WORK}/texts", f"{WORK}/texts.json"


def as_saved(settings: Mapping[str, Any]) -> str:
    """Settings as the folder keeps them, by which those of a later run are known again."""
    return json.dumps(settings, indent=2, default=lambda value: value.value) + "\n"


def made_texts(names: Iterable[str], target: Mapping[str, Any]) -> list[Path]:
    """Files of texts in folders that ``distill`` filled, in the order of the folders.

    Parameters
    ----------
    names
        The folders.
    target
        Its settings, as such a folder keeps them. The texts must be of the same weights, in the
        same dtype; where the weights lie may differ.

    Raises
    ------
    UserError
        A folder has no texts, or those of another target.
    """
    wanted = _told_by(json.loads(as_saved(target)))
    found = list[Path]()
    for name in names:
        folder = Path(name).expanduser()
        paths = sorted((folder / TEXTS).glob("*.safetensors"))
        try:
            settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            settings = None
        if not paths or not isinstance(settings, dict):
            raise UserError(
                f"text.made: {folder} has no texts of pearl-eval distill (no {TEXTS}/*.safetensors"
                f" with a readable {SETTINGS})"
            )
        theirs = _told_by(settings.get("target") or {})
        if theirs != wanted:
            raise UserError(
                f"text.made: the texts of {folder} are of another target or dtype:"
                f" {theirs}, where {wanted} is wanted"
            )
        found += paths
    return found


def _told_by(target: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a target's texts from others'.

    Not where a model lies, which is in ``model``: the mark of its weights, in ``target``, is the
    same. A target that a pair makes of another model has that one's mark, and further settings.
    """
    return {name: value for name, value in target.items() if name != "model"}
