"""Numbers as texts of several languages write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction

#: Spaces that only ever stand between groups of digits: no-break, figure, thin, narrow no-break.
_THIN = "\u00a0\u2007\u2009\u202f"
#: What other scripts and LaTeX write for an ASCII sign.
_ASCII = str.maketrans({"\u2212": "-", "\u2013": "-", "\uff0d": "-", "\u066b": ".", "\u066c": ","})
_LATEX = {"\\$": "$", "{,}": ",", "\\,": "\u2009", "\\ ": "\u00a0", "\\!": ""}
#: Between Chinese digits this is a comma of the sentence, unless it groups.
_WIDE_COMMA = re.compile(r"(?<=\d)\uff0c(?=\d{3}(?!\d))")
_CURRENCY = "$€£¥₹₽฿"
#: Chinese and Japanese count in ten thousands; 千克 and its like are units of measurement.
_MYRIADS = {"千": 10**3, "万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8, "兆": 10**12}
_MYRIAD = re.compile("千(?![克米瓦卡赫焦])|[万萬億亿兆]")
#: A hyphen after a number, a word or a bracket is that of a range or a subtraction.
_SIGN = rf"(?P<sign>(?<![\w)\]}}%{_CURRENCY}{''.join(_MYRIADS)}円元-])-)?"
_UNIT = rf"(?:(?<!\d)(?<!\d )[{_CURRENCY}]\s?(?P<inner>-)?)?"
#: No answer has more, and Python makes no integer of them.
_MOST_DIGITS = 1000


def find_number(text: str, decimal_comma: bool = False) -> Fraction | None:
    """The first number in a text, exactly; ``None`` where there is none.

    Currency signs, a trailing period and a LaTeX box around it are ignored: ``$1,234.50.`` and
    ``\\boxed{-3}`` are numbers. Digits may be of any script. How separators are read is in
    docs/tasks.md.

    Parameters
    ----------
    text
        Any text.
    decimal_comma
        Whether the text is in a language in which ``1.234`` and ``1 234`` are more than a thousand.
    """
    return next(all_numbers(text, decimal_comma), None)


def all_numbers(text: str, decimal_comma: bool = False) -> Iterator[Fraction]:
    """The numbers in a text, in their order. As ``find_number``."""
    text, pattern = _plain(text), _CONTINENTAL if decimal_comma else _ENGLISH
    position = 0
    while found := pattern.search(text, position):
        position = found.end()
        value = _value(found)
        if value is not None:
            value, position = _with_myriads(value, text, position, pattern)
            yield -value if found["sign"] or found["inner"] else value


def _plain(text: str) -> str:
    """With ASCII digits, signs and separators."""
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    for latex, plain in _LATEX.items():
        text = text.replace(latex, plain)
    return _WIDE_COMMA.sub(",", text.translate(_ASCII))


def _pattern(decimal_comma: bool) -> re.Pattern[str]:
    spaces = _THIN + " " if decimal_comma else _THIN
    # In English one dot before three digits is for decimals, unless a comma is for these.
    dots = r"(?:\.\d{3})+(?!\d)(?:,\d+)?"
    if not decimal_comma:
        dots = r"(?:(?:\.\d{3}){2,}(?!\d)(?:,\d+)?|\.\d{3},\d+)"
    kinds = {
        # A comma before three digits groups, unless nothing but zero is before it.
        "commas": r"(?!0+,)(?:\d+(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3})(?!\d)(?:\.\d+)?",
        "dots": rf"(?!0+\.)\d+{dots}",
        "gaps": rf"[1-9]\d{{0,2}}(?P<gap>[{spaces}'’])\d{{3}}(?:(?P=gap)\d{{3}})*(?!\d)"
        r"(?:[.,]\d+)?",
        # Several commas that don't group are those of a list.
        "comma": r"(?<!\d,)\d+,\d+(?!,?\d)",
        "plain": r"\d+(?:\.\d+)?|(?<!\d)\.\d+",
    }
    number = "|".join(f"(?P<{name}>{kind})" for name, kind in kinds.items())
    return re.compile(f"{_SIGN}{_UNIT}(?:{number})", re.ASCII)


_ENGLISH, _CONTINENTAL = _pattern(decimal_comma=False), _pattern(decimal_comma=True)


def _value(found: re.Match[str]) -> Fraction | None:
    """Without its sign."""
    kind = found.lastgroup
    assert kind is not None
    digits = found[kind]
    if len(digits) > _MOST_DIGITS:
        return None
    if kind == "commas":
        digits = digits.replace(",", "")
    elif kind == "dots":
        digits = digits.replace(".", "")
    elif kind == "gaps":
        digits = digits.replace(found["gap"], "")
    return Fraction(digits.replace(",", "."))


def _with_myriads(
    value: Fraction, text: str, position: int, pattern: re.Pattern[str]
) -> tuple[Fraction, int]:
    """A number with what multiplies it, such as 3万5000, and where it ends."""
    total = Fraction(0)
    while True:
        factor = 1
        while unit := _MYRIAD.match(text, position):
            factor *= _MYRIADS[unit.group()]
            position = unit.end()
        total += value * factor
        found = pattern.match(text, position)
        value = (found and text[position].isdigit() and _value(found)) or Fraction(0)
        if found is None or not 0 < value < factor:
            return total, position
        position = found.end()
