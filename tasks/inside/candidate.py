"""Runs the generated program and answers calls of its function. All of this process is hostile."""

from __future__ import annotations

import builtins
import os
import resource
from typing import Any

from tasks.inside.wire import Unfit, describe, pack, receive, send, unpack

#: Where the judge is talked to. Standard input is empty, output is counted by the warden.
JUDGE = 3
#: Bytes of one file, and how many may be open at once.
_FILE_BYTES = 16 * 2**20
_OPEN_FILES = 64


def limit_resources(memory: int, seconds: int) -> None:
    """Limit this process for good. No further process or thread can be had.

    ``memory`` is in bytes of address space, ``seconds`` are of CPU time.
    """
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))


def main(program: str, entry_point: str) -> None:
    """Run ``program``, then answer calls of its function ``entry_point`` until nobody asks."""
    names: dict[str, Any] = {}
    try:
        exec(compile(program, "<program>", "exec"), names)
        function = names[entry_point]
    except KeyError:
        send(JUDGE, {"broken": f"it defines no {entry_point}"})
    except BaseException as error:
        send(JUDGE, {"broken": describe(error)})
    else:
        send(JUDGE, {"ready": None})
        while True:
            try:
                call = receive(JUDGE)
            except EOFError:
                break
            _reply(_answer(function, unpack(call["args"]), unpack(call["kwargs"])))
    os._exit(0)


def _reply(answer: dict[str, Any]) -> None:
    try:
        send(JUDGE, answer)
    except (Unfit, MemoryError) as error:
        send(JUDGE, {"unfit": f"it returned {str(error) or 'more than there is memory for'}"})


def _answer(function: Any, args: list[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"returned": pack(function(*args, **kwargs))}
    except Unfit as error:
        return {"unfit": f"it returned {error}"}
    except BaseException as error:
        kinds = [c.__name__ for c in type(error).__mro__ if getattr(builtins, c.__name__, 0) is c]
        return {"raised": {"kinds": kinds, "args": _plain(error), "text": describe(error)}}


def _plain(error: BaseException) -> Any:
    try:
        return [pack(argument) for argument in error.args]
    except (Unfit, RecursionError):
        return [describe(error)]
