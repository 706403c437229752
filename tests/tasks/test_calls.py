"""Functions called from one end of the line to the other: what crosses, and what becomes of it."""

from __future__ import annotations

import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tasks.sandbox.inside import wire
from tasks.sandbox.inside.calls import Calls, Remote, exception
from tasks.sandbox.inside.wire import Nonsense, Unfit, pack, receive, send


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    pair = socket.socketpair()
    for end in pair:
        # Without it a message that never comes would be waited for without end.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 30, 0))
    yield pair
    for end in pair:
        end.close()


def end(one: socket.socket, trusting: bool = False, catch: Any = Exception) -> Calls:
    def call(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return made.ask(number, args, kwargs)[1]

    made = Calls(one.fileno(), callable, call, catch, trusting)
    return made


def asked(
    sockets: tuple[socket.socket, socket.socket],
    function: Callable[..., Any],
    *args: Any,
    before: int = 0,
    **kwargs: Any,
) -> tuple[str, Any]:
    """What comes of a call of ``function``, the other end's after so many others."""
    ours, theirs = end(sockets[0], trusting=True), end(sockets[1])
    for _ in range(before):
        theirs.offer(lambda: "another")
    number = theirs.offer(function)
    assert theirs.offer(function) == number == before

    def serve() -> None:
        _, content = theirs.receive()
        theirs.answer(content)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    result = ours.ask(number, args, kwargs)
    thread.join(30)
    return result


def test_a_call_gives_what_the_function_returns(sockets: Any) -> None:
    kind, value = asked(sockets, lambda a, b, *, c: [a, (b,), c], 1, "two", c={3}, before=2)
    assert (kind, value) == ("returned", [1, ("two",), {3}])


def test_arguments_that_a_function_changes_are_changed_here(sockets: Any) -> None:
    a, b, c, d = [1, [2], 3], {"k": [4], "gone": 5}, {6}, deque([7])
    inner, item, pair = a[1], b["k"], ([8], 9)
    held = pair[0]

    def change(a: list, b: dict, c: set, pair: tuple, *, d: deque, shorter: bytearray) -> None:
        a[1].append(20)
        a += [30, 40]
        b["k"].append(50)
        del b["gone"]
        b["new"] = 60
        c.add(70)
        c.remove(6)
        pair[0].append(75)
        d.append(80)
        del shorter[1:]

    shorter = bytearray(b"abc")
    kind, value = asked(sockets, change, a, b, c, pair, d=d, shorter=shorter)
    assert (kind, value) == ("returned", None)
    assert a == [1, [2, 20], 3, 30, 40] and a[1] is inner
    assert list(b.items()) == [("k", [4, 50]), ("new", 60)] and b["k"] is item
    assert (c, d, shorter) == ({70}, deque([7, 80]), bytearray(b"a"))
    assert pair == ([8, 75], 9) and pair[0] is held


def test_a_list_may_become_shorter(sockets: Any) -> None:
    a = [[1], [2], [3]]
    first = a[0]

    def shorten(a: list) -> None:
        del a[1:]

    asked(sockets, shorten, a)
    assert a == [[1]] and a[0] is first


def test_nothing_is_sent_back_of_arguments_that_are_as_they_were(sockets: Any) -> None:
    theirs = end(sockets[1])
    for function in (lambda a: a[0], lambda a: a.append(object())):
        # What can't cross can't be told either.
        theirs.answer({"function": theirs.offer(function), "given": pack([[[5]], {}])})
    assert receive(sockets[0].fileno()) == {"returned": [5, None]}
    assert receive(sockets[0].fileno()) == {"returned": [None, None]}


def test_what_a_function_raises_is_told(sockets: Any) -> None:
    class Own(KeyError):
        pass

    def fail(a: list) -> None:
        a.append(2)
        raise Own("k", 7)

    given = [1]
    kind, value = asked(sockets, fail, given)
    assert kind == "raised" and given == [1, 2]
    assert value["kinds"] == ["KeyError", "LookupError", "Exception", "BaseException", "object"]
    caught, text = exception(value)
    assert type(caught) is KeyError and caught.args == ("k", 7)
    assert "Own" in text


def test_what_is_not_to_be_caught_goes_on(sockets: Any) -> None:
    theirs = end(sockets[1], catch=ValueError)

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        theirs.answer({"function": theirs.offer(fail), "given": [[], {"dict": []}]})


def test_an_exception_whose_arguments_do_not_cross_is_told_by_its_text(sockets: Any) -> None:
    def fail() -> None:
        raise ValueError(object())

    _, value = asked(sockets, fail)
    caught, text = exception(value)
    assert type(caught) is ValueError and caught.args == (text,)


def test_what_does_not_cross_is_told(sockets: Any) -> None:
    kind, content = asked(sockets, object)
    assert kind == "unfit" and content.startswith("it returned a")


def test_functions_cross_by_their_number(sockets: Any) -> None:
    """One of ours comes back as itself, one of theirs can be called; what is built in is here."""

    def double(x: int) -> int:
        return 2 * x

    def give(mine: Callable[..., Any]) -> Any:
        assert isinstance(mine, Remote)
        return mine, len, lambda: None, mine(21)

    _, (back, builtin, theirs, called) = asked(sockets, give, double)
    assert back is double and builtin is len and called == 42
    assert isinstance(theirs, Remote) and theirs.number == 1


@pytest.mark.parametrize(
    "content",
    [
        {"kinds": ["ValueError"], "args": []},
        {"kinds": ["ValueError"], "text": "t"},
        {"args": [], "text": "t"},
        {"kinds": 3, "args": [], "text": "t"},
        None,
    ],
    ids=str,
)
def test_an_exception_that_is_none_is_refused(content: Any) -> None:
    with pytest.raises(Nonsense, match="an exception that is none"):
        exception(content)


def test_exceptions_become_built_in_ones() -> None:
    told = {"kinds": ["Own", "OSError"], "args": pack([2, "no"]), "text": "said"}
    made, text = exception(told)
    assert type(made) is FileNotFoundError and made.args == (2, "no") and text == "said"
    # Of arguments that it doesn't take, it is one with the text.
    made, _ = exception({"kinds": ["UnicodeDecodeError"], "args": [1], "text": "said"})
    assert type(made) is Exception and made.args == ("said",)
    # What ends a program is not to be raised here, nor what is no exception.
    for kind in ("SystemExit", "int", "exec"):
        assert exception({"kinds": [kind], "args": [], "text": "said"}) == (None, "said")


@pytest.mark.parametrize("number", [-1, 1, "0", None, 2.0])
def test_a_function_that_is_not_there_is_refused(sockets: Any, number: Any) -> None:
    theirs = end(sockets[1])
    theirs.offer(lambda: 1)
    with pytest.raises(Nonsense, match="a call that is none"):
        theirs.answer({"function": number, "given": [[], {"dict": []}]})


@pytest.mark.parametrize("message", [[], {}, {"returned": 1, "raised": 2}, "returned"], ids=str)
def test_a_message_is_of_one_kind(sockets: Any, message: Any) -> None:
    send(sockets[0].fileno(), message)
    with pytest.raises(Nonsense, match="a message that is no answer"):
        end(sockets[1]).receive()


@pytest.mark.parametrize("content", [[1], [1, None, None], {"a": 1, "b": 2}], ids=str)
def test_an_answer_has_a_value_and_what_changed(sockets: Any, content: Any) -> None:
    send(sockets[1].fileno(), {"returned": content})
    with pytest.raises(Nonsense, match="a message that is no answer"):
        end(sockets[0]).ask(0, (), {})


def test_another_message_is_given_as_it_is(sockets: Any) -> None:
    send(sockets[1].fileno(), {"done": 3})
    assert end(sockets[0]).ask(0, (), {}) == ("done", 3)


def test_a_candidate_can_not_have_what_is_built_in_here_by_its_name(sockets: Any) -> None:
    send(sockets[1].fileno(), {"returned": [{"builtin": "len"}, None]})
    with pytest.raises(Nonsense):
        end(sockets[0], trusting=False).ask(0, (), {})


def test_a_message_has_a_length_that_it_may_have(
    sockets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight letters and quotation marks are ten bytes of JSON."""
    monkeypatch.setattr(wire, "LIMIT", 10)
    ours, theirs = (one.fileno() for one in sockets)
    send(ours, "x" * 8)
    assert receive(theirs) == "x" * 8
    with pytest.raises(Unfit):
        send(ours, "x" * 9)
    sockets[0].sendall(b"\0\0\0\x0b" + b"1" * 11)
    with pytest.raises(Nonsense, match="a message of 11 bytes"):
        receive(theirs)


def test_a_message_that_is_cut_short_is_the_end(sockets: Any) -> None:
    ours, theirs = sockets
    ours.sendall(b"\0\0\0\x04nul")
    ours.close()
    with pytest.raises(EOFError):
        receive(theirs.fileno())


class Dumb(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(), "ValueError"),
        (ValueError(" a\n\tb\x1b[2J "), "ValueError: a b [2J"),
        (Dumb(), "Dumb"),
        (ValueError("x" * 999), "ValueError: " + "x" * 188),
    ],
)
def test_an_error_is_told_in_a_line_of_200_signs(error: Exception, told: str) -> None:
    assert wire.describe(error) == told
