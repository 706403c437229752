"""The number that an answer ends in."""

from __future__ import annotations

import re
from fractions import Fraction

#: An optional sign and currency, digits with commas, decimals.
_NUMBER = re.compile(r"-?[$€£¥]?\s?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")


def find_number(text: str) -> Fraction | None:
    """The first number in a text, exactly; ``None`` where there is none.

    Thousands separators, currency signs, a trailing period and a LaTeX box around it are ignored:
    ``$1,234.50.`` and ``\\boxed{-3}`` are numbers.
    """
    match = _NUMBER.search(text.replace("\\$", "$").replace("\u2212", "-"))
    if match is None:
        return None
    return Fraction(re.sub(r"[^\d.\-]", "", match.group()).rstrip("."))
