"""The number that an answer ends in."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

#: An optional sign and currency, digits with commas, decimals.
_NUMBER = re.compile(r"-?(?:[$€£¥₹]\s?)?-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)")
#: A dot or a space between groups of three digits, where the comma is for decimals.
_GROUPING = re.compile(r"(?<=\d)[.\u00a0\u202f ](?=\d{3}(?!\d))")
#: What a text says before its answer, the surest first.
_MARKS = ("####", "\\boxed", "The answer is")


def find_number(text: str, decimal_comma: bool = False) -> Fraction | None:
    """The first number in a text, exactly; ``None`` where there is none.

    Thousands separators, currency signs, a trailing period and a LaTeX box around it are ignored:
    ``$1,234.50.`` and ``\\boxed{-3}`` are numbers. Digits may be of any script.

    Parameters
    ----------
    text
        Any text.
    decimal_comma
        Whether ``1.234,5`` is meant as in German: dots or spaces group, a comma is for decimals.
    """
    match = _NUMBER.search(_plain(text, decimal_comma))
    return None if match is None else _value(match.group())


def final_number(text: str, decimal_comma: bool = False) -> Fraction | None:
    """The number that a worked answer comes to: after ``####``, in ``\\boxed{}``, after "The answer
    is", else the last number in the text; ``None`` where there is none. As ``find_number``."""
    for mark in _MARKS:
        _, found, rest = text.rpartition(mark)
        if found:
            return find_number(rest, decimal_comma)
    numbers = _NUMBER.findall(_plain(text, decimal_comma))
    return _value(numbers[-1]) if numbers else None


def _plain(text: str, decimal_comma: bool) -> str:
    """With ASCII digits, signs and separators."""
    text = "".join(str(unicodedata.decimal(c, None) or 0) if c.isdecimal() else c for c in text)
    text = text.replace("\\$", "$").replace("\u2212", "-").replace("\u066c", ",")
    text = text.replace("\\,", "").replace("{,}", ",").replace("\uff0c", ",")
    if decimal_comma:
        text = _GROUPING.sub("", text).replace(",", ".")
    return text


def _value(number: str) -> Fraction:
    return Fraction(re.sub(r"[^\d.\-]", "", number).rstrip("."))
