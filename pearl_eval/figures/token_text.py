"""The text of single tokens of a run, for pictures; no weights are loaded for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pearl_eval.config.registry import register
from pearl_eval.errors import UserError
from pearl_eval.figures.fonts import family

#: What stands for a sign of which a token has only some bytes.
_PARTIAL = "\ufffd"


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
        text = str(self._tokenizer.decode([token]))
        if _PARTIAL in text:
            text = _with_bytes(str(self._tokenizer.convert_ids_to_tokens(int(token))))
        return visible(text) or str(token)

    def until_end(self, output_ids: Sequence[int]) -> int:
        """How many tokens there are up to the first special one: text may go on beyond its end."""
        special = self._tokenizer.all_special_ids if self._tokenizer else ()
        return len(list(takewhile(lambda token: token not in special, output_ids)))


def _tokenizer(directory: Path) -> Any | None:
    register()
    try:
        config = OmegaConf.load(directory / ".hydra" / "config.yaml")
        pair = OmegaConf.select(config, "pair")
        models = (pair.get(role, {}) for role in ("target", "draft"))
        model = next(one for one in models if one.get("path") or one.get("package"))
        where = _location(model)
        if where is None:
            return None
        # Imported late: it takes seconds, which a wrong command line should not.
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(
            where,
            revision=model.get("revision"),
            local_files_only=True,
            trust_remote_code=False,
        )
    except (
        OSError,
        ValueError,
        AttributeError,
        StopIteration,
        OmegaConfBaseException,
        UserError,
    ):
        return None


def _location(model: Any) -> str | None:
    """Where transformers finds a model of a run's configuration; ``None``: not converted yet."""
    # Imported late, as the tokenizer is.
    from pearl_eval.weights.conversion import converted_before
    from pearl_eval.weights.gguf import find_gguf

    gguf = find_gguf(
        model.get("path"),
        model.get("gguf_file"),
        model.get("package"),
        model.get("revision"),
        local_files_only=True,
    )
    if gguf is not None:
        folder = converted_before(gguf)
        return None if folder is None else str(folder)
    path = Path(model.path).expanduser()
    return str(path) if path.is_dir() else str(model.path)


def visible(text: str) -> str:
    """A token's text on one line: a word without the space before it, blanks as signs.

    Longer runs of spaces are counted: ``␣×4``. What no font here has is ``U+4E2D``.
    """
    if text.strip():
        text = text.removeprefix(" ")
    text = re.sub(r" {3,}", lambda run: f"␣×{len(run[0])}", text)
    if not text.strip():
        text = text.replace(" ", "␣")
    text = text.replace("\n", "⏎").replace("\t", "⇥").replace("\r", "")
    return "".join(sign if family(sign) else f"U+{ord(sign):04X}" for sign in text)


def _with_bytes(name: str) -> str:
    """A token's text from its name in the vocabulary, with bytes that are no whole sign: ``\\xe4``.

    Vocabularies of bytes write each as a letter; others name them, as ``<0xE4>``.
    """
    # Imported late, as the tokenizer is.
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = {letter: byte for byte, letter in bytes_to_unicode().items()}
    if not all(letter in letters for letter in name):
        return name
    return bytes(letters[letter] for letter in name).decode("utf-8", "backslashreplace")
