"""Fonts that can draw a text: the monospaced one that comes with matplotlib, then the system's."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache

from matplotlib.font_manager import FontEntry, findfont, fontManager, get_font

_OWN = "monospace"
#: Has a box for every sign there is.
_BOXES = "Last Resort High-Efficiency"


def families(text: str) -> list[str]:
    """The families that have the signs of a text, as matplotlib takes them: it tries each."""
    found = (family(sign) for sign in text)
    return list(dict.fromkeys([_OWN, *(name for name in found if name)]))


@cache
def family(sign: str) -> str | None:
    """The first family that has a sign; ``None`` where none here does, or it has no look."""
    if unicodedata.category(sign).startswith("C"):
        return None
    code = ord(sign)
    if code in _signs(findfont(_OWN)):
        return _OWN
    return next((font.name for font in _others() if code in _signs(font.fname)), None)


def cells(text: str) -> int:
    """How many columns of a monospaced font a text takes: wide signs two, combining ones none."""
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(unicodedata.category(sign) == "Mn" for sign in text)


def _others() -> Iterator[FontEntry]:
    """Upright fonts of usual weight, those made for text first."""
    usual = (f for f in fontManager.ttflist if f.weight in (400, "normal") and f.style == "normal")
    fonts = [font for font in usual if font.name != _BOXES]
    yield from sorted(fonts, key=lambda font: ("Sans" not in font.name, font.name, font.fname))


@cache
def _signs(path: str) -> frozenset[int]:
    """What a font has glyphs for; nothing where it can't be read, as those of coloured bitmaps."""
    try:
        return frozenset(get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
