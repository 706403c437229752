"""Runs the generated program and answers calls of its function. All of this process is hostile."""

from __future__ import annotations

import functools
import os
import resource
import sys
import types
from typing import Any

from tasks.sandbox.inside.calls import Calls, exception
from tasks.sandbox.inside.wire import describe, send

#: Where the judge is talked to. Standard input is empty, output is counted by the warden.
JUDGE = 3
#: Bytes of one file, and how many may be open at once.
_FILE_BYTES = 16 * 2**20
_OPEN_FILES = 64
#: How libraries of linear algebra are told the number of their threads.
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
#: What a program may hand out to be called by its tests.
_FUNCTIONS = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    functools.partial,
)


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


def show_packages(folders: list[str]) -> None:
    """Let packages in these folders be imported. Those that compute must do so in this thread."""
    sys.path += folders
    if folders:
        os.environ.update(dict.fromkeys(_THREADS, "1"))


def main(program: str, entry_point: str, folders: list[str]) -> None:
    """Run ``program``, then answer calls of its function ``entry_point`` until nobody asks.

    ``folders`` have the packages that it may import.
    """
    show_packages(folders)
    names: dict[str, Any] = {}
    try:
        exec(compile(program, "<program>", "exec"), names)
    except BaseException as error:
        send(JUDGE, {"broken": describe(error)})
    else:
        if entry_point in names:
            _serve(names[entry_point])
        else:
            send(JUDGE, {"broken": f"it defines no {entry_point}"})
    os._exit(0)


def _serve(function: Any) -> None:
    def call(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the tests."""
        kind, content = calls.ask(number, args, kwargs)
        if kind == "returned":
            return content
        raise (kind == "raised" and exception(content)[0]) or Exception(content)

    def is_function(value: Any) -> bool:
        return isinstance(value, _FUNCTIONS)

    calls = Calls(JUDGE, is_function, call, BaseException, trusting=True)
    calls.offer(function)
    send(JUDGE, {"ready": None})
    while True:
        try:
            kind, content = calls.receive()
        except EOFError:
            break
        if kind == "call":
            calls.answer(content)
