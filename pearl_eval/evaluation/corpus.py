"""A text that a decoder knows before the first prompt, in which no problem may be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError, reason
from tasks.task import Problem

#: What is shorter may be in any text.
_TELLING = 20


@dataclass(frozen=True)
class KnownText:
    """The text of a file. ``sha256`` tells it from others."""

    text: str
    sha256: str

    @classmethod
    def read(cls, path: str) -> KnownText:
        """:class:`UserError` where there is no such text."""
        try:
            content = Path(path).read_bytes()
            text = content.decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"decoder.corpus={path} can't be read as text: {reason(error)}; name a file of"
                " plain text in UTF-8"
            ) from error
        if not text.strip():
            raise UserError(f"decoder.corpus={path} has no text: name a file of plain text")
        return cls(text, hashlib.sha256(content).hexdigest())

    def holds(self, text: str) -> bool:
        """Whether a text is in it as a whole, and long enough for that to tell anything."""
        core = text.strip()
        return len(core) >= _TELLING and core in self.text

    def check(self, path: str, problems: Iterable[Problem]) -> None:
        """Refuse a corpus that has a problem's prompt, or what else its row says at length."""
        for problem in problems:
            if found := next((one for one in _texts(problem) if self.holds(one)), None):
                raise UserError(
                    f"decoder.corpus={path} has text of {problem.task_id}"
                    f" ({' '.join(found.split())[:40]!r}), so its decoder would know what it is to"
                    " find; take a corpus without this task's problems"
                )


def _texts(problem: Problem) -> Iterator[str]:
    yield problem.prompt
    yield from problem.turns
    yield from _strings(problem.data)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)
