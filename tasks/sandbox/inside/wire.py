"""Plain data as messages between two processes that do not trust each other.

A message is its length in four bytes, then JSON. A value that JSON lacks is written as an object
with one key, its type: ``{"tuple": [1, 2]}``. No message can bring code or classes of its own.
"""

from __future__ import annotations

import json
import os
import struct
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

#: Longest message, in bytes.
LIMIT = 16 * 2**20
_LENGTH = struct.Struct(">I")
#: Integers beyond this many bits are sent in hexadecimal, which takes linear time.
_SHORT_BITS = 64


class Unfit(Exception):
    """A value that can't be sent."""


class Nonsense(Exception):
    """A message that no honest process sends."""


def send(descriptor: int, message: Any) -> None:
    """Send JSON. Raises :class:`Unfit` where it is too long, ``OSError`` where nobody reads."""
    data = json.dumps(message).encode()
    if len(data) > LIMIT:
        raise Unfit(f"more than {LIMIT >> 20} MiB")
    rest = memoryview(_LENGTH.pack(len(data)) + data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> Any:
    """The next message. Raises :class:`Nonsense`, or ``EOFError`` where there is none."""
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size))
    if length > LIMIT:
        raise Nonsense(f"a message of {length} bytes")
    try:
        return json.loads(_read(descriptor, length))
    except (ValueError, RecursionError) as error:
        raise Nonsense("a message that is not JSON") from error


def _read(descriptor: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = os.read(descriptor, min(length - len(data), 2**20))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)


def pack(value: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """A value as JSON.

    Of an instance of a subclass only the plain value is kept, but for those of the standard library
    that compare by rules of their own. An iterator is run to its end.

    Parameters
    ----------
    value
        Plain data.
    other
        Packs what is none; without it that raises :class:`Unfit`.
    """
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _SHORT_BITS else {"int": hex(value)}
    if isinstance(value, list):
        return [pack(item, other) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return {"bytearray" if isinstance(value, bytearray) else "bytes": value.hex()}
    for kind in _KINDS.values():
        if isinstance(value, kind.type):
            return {kind.name: [pack(piece, other) for piece in kind.take_apart(value)]}
    if isinstance(value, Integral):  # as numpy's are
        return pack(int(value))
    if isinstance(value, Real):
        return float(value)
    if other is None:
        raise Unfit(f"a {type(value).__name__}")
    return other(value)


def unpack(packed: Any, other: Callable[[str, Any], Any] | None = None) -> Any:
    """The value that was packed. Raises :class:`Nonsense` for what :func:`pack` never makes.

    ``other`` unpacks what the one given to :func:`pack` made, from its type and content; it raises
    ``LookupError`` for types that it does not know.
    """
    try:
        return _unpack(packed, other)
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise Nonsense("a value that is no plain data") from error


def _unpack(packed: Any, other: Callable[[str, Any], Any] | None) -> Any:
    if isinstance(packed, list):
        return [_unpack(item, other) for item in packed]
    if not isinstance(packed, dict):
        return packed
    ((name, content),) = packed.items()
    if name in _SIMPLE:
        return _SIMPLE[name](content)
    if name in _KINDS:
        return _KINDS[name].make(*(_unpack(piece, other) for piece in content))
    if other is None:
        raise LookupError(name)
    return other(name, content)


_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "int": lambda content: int(content, 16),
    "bytes": bytes.fromhex,
    "bytearray": bytearray.fromhex,
}


@dataclass(frozen=True)
class _Kind:
    """A type of plain data: what its values are made of, and how they are made of that."""

    name: str
    type: type
    take_apart: Callable[[Any], Iterable[Any]]
    make: Callable[..., Any]


def _clock(value: datetime | time) -> list[Any]:
    parts = [value.hour, value.minute, value.second, value.microsecond]
    return [*parts, value.fold, value.utcoffset()]


def _timed(make: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a time of ``_clock``'s parts; a named time zone has become its offset."""

    def made(*parts: Any) -> Any:
        *numbers, fold, offset = parts
        return make(*numbers, tzinfo=None if offset is None else timezone(offset), fold=fold)

    return made


#: By name. Subclasses are before what they derive from.
_KINDS = {
    kind.name: kind
    for kind in (
        _Kind("tuple", tuple, iter, lambda *items: items),
        _Kind("counter", Counter, dict.items, lambda *items: Counter(dict(items))),
        _Kind("ordered", OrderedDict, OrderedDict.items, lambda *items: OrderedDict(items)),
        _Kind("dict", dict, dict.items, lambda *items: dict(items)),
        _Kind("set", set, iter, lambda *items: set(items)),
        _Kind("frozenset", frozenset, iter, lambda *items: frozenset(items)),
        _Kind("deque", deque, lambda d: [d.maxlen, *d], lambda size, *items: deque(items, size)),
        _Kind("range", range, lambda r: [r.start, r.stop, r.step], range),
        _Kind("keys", KeysView, iter, lambda *items: dict.fromkeys(items).keys()),
        _Kind("values", ValuesView, iter, lambda *items: dict(enumerate(items)).values()),
        _Kind("items", ItemsView, iter, lambda *items: dict(items).items()),
        _Kind("iterator", Iterator, iter, lambda *items: iter(items)),
        _Kind("complex", complex, lambda z: [z.real, z.imag], complex),
        _Kind("fraction", Fraction, lambda f: [f.numerator, f.denominator], Fraction),
        _Kind("decimal", Decimal, lambda d: [str(d)], Decimal),
        _Kind(
            "datetime",
            datetime,
            lambda t: [t.year, t.month, t.day, *_clock(t)],
            _timed(datetime),
        ),
        _Kind("date", date, lambda d: [d.year, d.month, d.day], date),
        _Kind("time", time, _clock, _timed(time)),
        _Kind("timedelta", timedelta, lambda d: [d.days, d.seconds, d.microseconds], timedelta),
    )
}


def one_line(text: str, longest: int = 200) -> str:
    """A text for a report: without line breaks and control characters, and not long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())[:longest]


def describe(error: BaseException) -> str:
    """``TypeError: why``. The text may be hostile, or fail to be made."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return one_line(f"{type(error).__name__}: {text}" if text else type(error).__name__)
