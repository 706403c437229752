"""Keeps prompts that a model is to be tested on out of what it learns from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"\w+")


class HeldBack:
    """Tells texts that have a stretch of words in common with a prompt that is held back.

    Case and all that is between words count nothing. A prompt of fewer words than a stretch is one
    stretch as a whole.

    Parameters
    ----------
    prompts
        What is held back.
    words
        Words of a stretch.
    """

    def __init__(self, prompts: Iterable[str], words: int) -> None:
        if words < 1:
            raise ValueError(f"expected a stretch of at least 1 word, got {words}")
        self._held_back: dict[int, set[tuple[str, ...]]] = {}
        for prompt in prompts:
            found = _WORD.findall(prompt.lower())
            for stretch in _stretches(found, min(words, len(found))):
                self._held_back.setdefault(len(stretch), set()).add(stretch)

    def __call__(self, text: str) -> bool:
        """Whether a text has one in common."""
        words = _WORD.findall(text.lower())
        return any(
            stretch in known
            for length, known in self._held_back.items()
            for stretch in _stretches(words, length)
        )


def _stretches(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    if not length:
        return
    for start in range(len(words) - length + 1):
        yield tuple(words[start : start + length])
