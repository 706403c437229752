"""Plain data as messages between two processes that do not trust each other.

A message is its length in four bytes and JSON. What JSON has not is an object with one key, the
type: ``{"tuple": [1, 2]}``. Nothing that is read can bring code or classes of its own.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
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


def pack(value: Any) -> Any:
    """A value as JSON. Raises :class:`Unfit` for what is no plain data.

    Of an instance of a subclass only the plain value is kept. An iterator is run to its end.
    """
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _SHORT_BITS else {"int": hex(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": value.hex()}
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    for kind, name in ((tuple, "tuple"), (set, "set"), (frozenset, "frozenset")):
        if isinstance(value, kind):
            return {name: [pack(item) for item in value]}
    if isinstance(value, Iterator):
        return {"iterator": [pack(item) for item in value]}
    raise Unfit(f"a {type(value).__name__}")


def unpack(packed: Any) -> Any:
    """The value that was packed. Raises :class:`Nonsense` for what :func:`pack` never makes."""
    try:
        return _unpack(packed)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise Nonsense("a value that is no plain data") from error


def _unpack(packed: Any) -> Any:
    if isinstance(packed, list):
        return [_unpack(item) for item in packed]
    if isinstance(packed, dict):
        ((name, content),) = packed.items()
        return _MAKERS[name](content)
    return packed


def _items(content: Any) -> list[Any]:
    return [_unpack(item) for item in content]


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda content: int(content, 16),
    "complex": lambda content: complex(*content),
    "bytes": bytes.fromhex,
    "dict": lambda content: {_unpack(key): _unpack(item) for key, item in content},
    "tuple": lambda content: tuple(_items(content)),
    "set": lambda content: set(_items(content)),
    "frozenset": lambda content: frozenset(_items(content)),
    "iterator": lambda content: iter(_items(content)),
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
