"""What became of a generated text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Whether a generated text solves its problem; ``result`` says why not, where that is known.

    ``correct`` is ``None`` where there is nothing to hold a text to.
    """

    correct: bool | None
    result: str = ""


#: Of a text that there is nothing to hold to.
UNSCORED = Score(None)
