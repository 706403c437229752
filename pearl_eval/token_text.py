"""The text of a run's single tokens, to be drawn: had without weights, each on one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from matplotlib.font_manager import findfont, get_font
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pearl_eval.config import register


class TokenText:
    """Gives the text of a token id of a run, or the id where its tokenizer can't be had.

    Parameters
    ----------
    directory
        The run's; its configuration there names the pair.
    """

    def __init__(self, directory: Path) -> None:
        self._tokenizer = _tokenizer(directory)

    def __call__(self, token: int) -> str:
        if self._tokenizer is None:
            return str(token)
        return visible(str(self._tokenizer.decode([token]))) or str(token)

    def until_end(self, output_ids: Sequence[int]) -> int:
        """How many tokens there are up to the first special one: text may go on beyond its end."""
        special = self._tokenizer.all_special_ids if self._tokenizer else ()
        return len(list(takewhile(lambda token: token not in special, output_ids)))


def _tokenizer(directory: Path) -> Any | None:
    register()
    try:
        config = OmegaConf.load(directory / ".hydra" / "config.yaml")
        pair = OmegaConf.select(config, "pair")
        model = next(pair[role] for role in ("target", "draft") if "path" in pair.get(role, {}))
        # Imported late: it takes seconds, which a wrong command line should not.
        from transformers import AutoTokenizer

        path = Path(model.path).expanduser()
        where = str(path) if path.is_dir() else model.path
        return AutoTokenizer.from_pretrained(
            where, revision=model.get("revision"), local_files_only=True
        )
    except (OSError, ValueError, AttributeError, StopIteration, OmegaConfBaseException):
        return None


def visible(text: str) -> str:
    """A token's text on one line: a word without the space before it, blanks as signs.

    Longer runs of spaces are counted: ``␣×4``. What can't be drawn is ``▯``.
    """
    if text.strip():
        text = text.removeprefix(" ")
    text = re.sub(r" {3,}", lambda run: f"␣×{len(run[0])}", text)
    if not text.strip():
        text = text.replace(" ", "␣")
    text = text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "")
    return "".join(sign if ord(sign) in _drawable() else "▯" for sign in text)


@cache
def _drawable() -> frozenset[int]:
    """What there are glyphs for in the font that comes with matplotlib."""
    return frozenset(get_font(findfont("monospace")).get_charmap())
