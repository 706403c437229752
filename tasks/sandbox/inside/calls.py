"""Calls of functions across the line between judge and candidate, either way.

Functions stay in their process. What crosses is their number, and plain data.
"""

from __future__ import annotations

import builtins
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from tasks.sandbox.inside.wire import Nonsense, Unfit, describe, pack, receive, send, unpack


class Remote:
    """A function of the other process."""

    def __init__(self, number: int, call: Callable[..., Any]) -> None:
        self.number = number
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self.number, args, kwargs)


class Calls:
    """One end of the line.

    Parameters
    ----------
    descriptor
        Socket to the other process.
    is_function
        What of ours may be called from there.
    call
        Calls a function of the other process for whoever has got a :class:`Remote`, by its number.
    catch
        What a function of ours may raise, to be told to who called it.
    trusting
        Whether what is built in is taken from the other process by its name.
    """

    def __init__(
        self,
        descriptor: int,
        is_function: Callable[[Any], bool],
        call: Callable[..., Any],
        catch: type[BaseException],
        trusting: bool,
    ) -> None:
        self._descriptor = descriptor
        self._is_function = is_function
        self._call = call
        self._catch = catch
        self._trusting = trusting
        self._ours: list[Callable[..., Any]] = []
        self._numbers: dict[int, int] = {}

    def offer(self, function: Callable[..., Any]) -> int:
        """Let a function be called from the other process; its number."""
        # What is kept is not freed, so no other function has its id.
        number = self._numbers.setdefault(id(function), len(self._ours))
        if number == len(self._ours):
            self._ours.append(function)
        return number

    def ask(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, Any]:
        """Call a function of the other process, and answer what it calls meanwhile.

        What comes of it: ``returned`` with the value, ``raised`` with what :func:`exception` reads,
        or another message. Arguments that the function has changed are changed here, too.
        """
        given = [list(args), kwargs]
        function = {"function": number, "given": self._pack(given)}
        send(self._descriptor, {"call": function})
        while True:
            kind, content = self.receive()
            if kind == "call":
                self.answer(content)
            elif kind not in ("returned", "raised"):
                return kind, content
            else:
                value, changed = _pair(content)
                if changed is not None:
                    _renew(given, self._unpack(changed))
                return kind, self._unpack(value) if kind == "returned" else value

    def receive(self) -> tuple[str, Any]:
        """The next message: its kind and content."""
        message = receive(self._descriptor)
        if not isinstance(message, dict) or len(message) != 1:
            raise Nonsense("a message that is no answer")
        return next(iter(message.items()))

    def answer(self, content: Any) -> None:
        """Call a function of ours as the other process wants, and tell what came of it."""
        try:
            number, packed = content["function"], content["given"]
            function = self._own(number)
            given = args, kwargs = _pair(self._unpack(packed))
        except (LookupError, TypeError):
            raise Nonsense("a call that is none") from None
        try:
            kind, result = "returned", self._pack(function(*args, **kwargs))
        except Unfit as error:
            send(self._descriptor, {"unfit": f"it returned {error}"})
            return
        except self._catch as error:
            kind, result = "raised", _told(error)
        try:
            send(self._descriptor, {kind: [result, self._changed(packed, given)]})
        except (Unfit, MemoryError) as error:
            reason = str(error) or "more than there is memory for"
            send(self._descriptor, {"unfit": f"it returned {reason}"})

    def _changed(self, before: Any, given: Any) -> Any:
        """What has become of arguments; ``None`` where it is the same, or can't be told."""
        try:
            after = self._pack(list(given))
            return None if after == before else after
        except (Unfit, RecursionError, MemoryError):
            return None

    def _pack(self, value: Any) -> Any:
        return pack(value, self._pack_function)

    def _unpack(self, packed: Any) -> Any:
        return unpack(packed, self._unpack_function)

    def _pack_function(self, value: Any) -> Any:
        if isinstance(value, Remote):
            return {"yours": value.number}
        if not self._is_function(value):
            raise Unfit(f"a {type(value).__name__}")
        name = getattr(value, "__name__", "")
        if not self._trusting and getattr(builtins, name, None) is value:
            return {"builtin": name}  # the other process has it, too
        return {"function": self.offer(value)}

    def _unpack_function(self, name: str, content: Any) -> Any:
        if name == "yours":
            return self._own(content)
        if name == "function" and isinstance(content, int):
            return Remote(content, self._call)
        if name == "builtin" and self._trusting:
            return getattr(builtins, content)
        raise LookupError(name)

    def _own(self, number: Any) -> Callable[..., Any]:
        if not isinstance(number, int) or number < 0:
            raise LookupError(number)
        return self._ours[number]


def exception(content: Any) -> tuple[Exception | None, str]:
    """An exception of the other process as it may be caught here, and what it said it is.

    It is of the built-in class that the other's is of, or derived from; ``None`` where that is no
    ``Exception``.
    """
    try:
        kinds, args, text = map(str, content["kinds"]), unpack(content["args"]), content["text"]
    except (KeyError, TypeError):
        raise Nonsense("an exception that is none") from None
    for kind in kinds:
        found = getattr(builtins, kind, None)
        if isinstance(found, type) and issubclass(found, Exception):
            with contextlib.suppress(Exception):
                return found(*args), str(text)
            return Exception(text), str(text)
    return None, str(text)


def _told(error: BaseException) -> dict[str, Any]:
    kinds = [c.__name__ for c in type(error).__mro__ if getattr(builtins, c.__name__, 0) is c]
    try:
        args = [pack(argument) for argument in error.args]
    except (Unfit, RecursionError):
        args = [describe(error)]
    return {"kinds": kinds, "args": args, "text": describe(error)}


def _pair(content: Any) -> tuple[Any, Any]:
    if not isinstance(content, list) or len(content) != 2:
        raise Nonsense("a message that is no answer")
    return content[0], content[1]


def _renew(old: Any, new: Any) -> Any:
    """What an argument has become: itself, changed, where it is of a kind that can be."""
    if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        items = [_renew(mine, theirs) for mine, theirs in zip(old, new, strict=True)]
        same = all(mine is item for mine, item in zip(old, items, strict=True))
        return old if same else tuple(items)
    if isinstance(old, list) and isinstance(new, list):
        kept = [_renew(mine, theirs) for mine, theirs in zip(old, new, strict=False)]
        old[:] = kept + new[len(old) :]
        return old
    if isinstance(old, dict) and isinstance(new, dict):
        items = [(key, _renew(old[key], item) if key in old else item) for key, item in new.items()]
        old.clear()
        for key, item in items:
            old[key] = item
        return old
    if isinstance(old, (set, bytearray, deque)) and isinstance(new, type(old)):
        old.clear()
        old.update(new) if isinstance(old, set) else old.extend(new)
        return old
    return new
