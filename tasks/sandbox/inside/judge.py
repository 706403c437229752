"""Runs the tests of a problem against a program that it only knows through messages."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from tasks.sandbox.inside.calls import Calls, exception
from tasks.sandbox.inside.candidate import show_packages
from tasks.sandbox.inside.wire import Nonsense, Unfit, describe, one_line

#: Seconds in which a program that no longer answers must be found to have ended.
_END_SECONDS = 0.5
#: Number of the function that the program is asked for, among those of the candidate.
_UNDER_TEST = 0


class Failure(BaseException):
    """The program failed, whatever its tests make of exceptions."""


class Candidate:
    """The function under test, as the tests see it.

    Parameters
    ----------
    descriptor
        Socket to the candidate process.
    pid
        That process, a child of this one.
    """

    def __init__(self, descriptor: int, pid: int) -> None:
        self._calls = Calls(descriptor, callable, self._call, Exception, trusting=False)
        self._pid = pid
        self._raised: Exception | None = None
        self._raised_text = ""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(_UNDER_TEST, args, kwargs)

    def await_ready(self) -> None:
        """Wait until the program has defined its function."""
        with self._heard():
            kind, content = self._calls.receive()
        if kind != "ready":
            raise Failure(_text(content))

    def describe(self, error: BaseException) -> str:
        """What went wrong in the tests, in the program's own words where it raised it."""
        return self._raised_text if error is self._raised else describe(error)

    def check_alive(self) -> None:
        """A program that has ended can't have answered by itself."""
        self._check_status(os.waitpid(self._pid, os.WNOHANG))

    def _call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function of the program; the first is the one under test."""
        try:
            with self._heard():
                kind, content = self._calls.ask(number, args, kwargs)
        except Unfit as error:
            raise Failure(f"the tests pass {error}, which is no plain data") from None
        if kind == "returned":
            return content
        if kind == "raised":
            self._raise(content)
        raise Failure(_text(content) if kind == "unfit" else "it answers what nobody asked")

    def _raise(self, content: Any) -> NoReturn:
        raised, text = exception(content)
        if raised is None:
            raise Failure(_text(text))
        self._raised, self._raised_text = raised, _text(text)
        raise raised

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError):
            self._tell_end()

    def _tell_end(self) -> NoReturn:
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            self._check_status(os.waitpid(self._pid, os.WNOHANG))
            time.sleep(0.002)
        raise Failure("it no longer answers")

    def _check_status(self, waited: tuple[int, int]) -> None:
        pid, status = waited
        if not pid:
            return
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            raise Failure(f"it ended itself before the tests were done (exit code {code})")
        raise Failure(f"it was ended by {signal.Signals(-code).name}")


def judge(
    candidate: Candidate, prompt: str, tests: str, entry_point: str, folders: list[str]
) -> str:
    """``passed``, or ``failed: why``. ``folders`` have the packages that the tests may import.

    The tests find what the prompt defines beside the function under test, and that by its own name
    too: some of them use it.
    """
    try:
        candidate.await_ready()
        show_packages(folders)
        names = _defined_by(prompt)
        names[entry_point] = candidate
        exec(compile(tests, "<tests>", "exec"), names)
        names["check"](candidate)
        candidate.check_alive()
    except (Failure, Nonsense) as failure:
        return f"failed: {one_line(str(failure))}"
    except BaseException as error:
        return f"failed: {candidate.describe(error)}"
    return "passed"


def _defined_by(prompt: str) -> dict[str, Any]:
    """What a prompt defines; the function that it asks for has no body there, or a docstring."""
    for source in (prompt, f"{prompt}\n    pass\n"):
        try:
            code = compile(source, "<prompt>", "exec")
        except SyntaxError:
            continue
        names: dict[str, Any] = {}
        exec(code, names)
        return names
    return {}


def _text(content: Any) -> str:
    return one_line(str(content))
