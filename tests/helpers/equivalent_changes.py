"""Changes that ``mutation.py`` has made and that change nothing anyone could see, and why.

A file, the line as it was, and as it was made: what is listed here is left out of the score.
"""

from __future__ import annotations

EQUIVALENT: list[tuple[str, str, str, str]] = [
    (
        "pearl_eval/simulation/simulation.py",
        "length = gamma if gamma is not None else 1",
        "length = gamma if gamma is not None else 0",
        "rules made without a draft length are thrown away: a missing one is refused just after",
    ),
]
