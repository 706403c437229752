"""Parts of checking programs that no program brings about, or only in a long time."""

from __future__ import annotations

import io
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.rows.rows import _text
from tasks.sandbox import sandbox
from tasks.sandbox.inside.calls import _renew
from tasks.sandbox.sandbox import Isolation, installed
from tasks.scoring import checker


def test_a_check_is_given_up_twenty_seconds_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[float, Any, list[Any]]] = []
    log: list[str] = []

    def timer(seconds: float, function: Any, arguments: list[Any]) -> Any:
        begun.append((seconds, function, arguments))
        return SimpleNamespace(start=lambda: log.append("start"), cancel=lambda: log.append("end"))

    monkeypatch.setattr(threading, "Timer", timer)
    process: Any = object()
    with checker._limited(process, 3.0):
        assert log == ["start"]
    assert begun == [(23.0, checker._kill, [process])] and log == ["start", "end"]


@pytest.mark.parametrize(
    ("said", "told"), [(b"", ""), (b"one\ntwo\n", " (two)"), (b"a\nb\nc \xff\n", " (c \ufffd)")]
)
def test_the_last_thing_a_sandbox_said_is_told(
    said: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "_end", lambda process: None)
    process: Any = SimpleNamespace(stderr=io.BytesIO(said))
    assert checker._complaint(process) == told


@pytest.mark.parametrize("there", [True, False])
def test_only_bubblewrap_must_be_installed(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/usr/bin/bwrap" if there else None)
    assert installed(Isolation.bubblewrap) is there
    assert installed(Isolation.namespaces) and installed(Isolation.none)


def test_rows_are_told_apart_whatever_the_order_of_their_fields() -> None:
    assert _text({"b": "é", "a": 2}) == '{"a": 2, "b": "é"}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((1, 2), (1, 2)),
        ((1, 2), (1, 2, 3)),
        ((1, 2), [1, 2]),
        ([1, 2], (1, 2)),
        ((1, 2), 3),
        ([1, 2, 3], [4]),
        ([1], [4, 5]),
        ({"a": 1, "b": 2}, {"c": 3, "a": 4}),
        ({1, 2}, {3}),
        ({1, 2}, [3]),
        (bytearray(b"ab"), bytearray(b"c")),
        (1, 2),
    ],
)
def test_an_argument_becomes_what_the_call_made_of_it(old: Any, new: Any) -> None:
    """The same object, where it is of a kind that can be changed; keys are in their new order."""
    found = _renew(old, new)
    assert found == new and type(found) is type(new)
    if isinstance(old, (list, dict, set, bytearray)) and isinstance(new, type(old)):
        assert found is old
    if isinstance(new, dict):
        assert list(found) == list(new)


def test_what_is_in_an_argument_is_changed_in_place() -> None:
    inner: list[int] = [1]
    outer = (inner, 2)
    assert _renew(outer, ([5], 2)) is outer and inner == [5]
    kept = {"a": inner, "b": 1}
    assert _renew(kept, {"a": [6, 7]}) is kept and kept == {"a": [6, 7]} and kept["a"] is inner
    items = [inner, inner]
    assert _renew(items, [[8]]) is items and items == [[8]] and items[0] is inner
