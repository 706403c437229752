"""Standard input and output as every command of ours needs them, whatever it is started with."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any

#: What a reader gets who can't have the sign itself.
_SPELLED = {
    "×": "x",
    "–": "-",
    "−": "-",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "…": "...",
    "·": "*",
    "÷": "/",
    "α": "alpha",
    "γ": "gamma",
    "µ": "u",
    "│": "|",
    "—": "-",
}
_ERRORS = "pearl_eval.spelled"
#: Exit code of a command whose output nobody reads to its end, as shells give it.
UNREAD = 128 + signal.SIGPIPE


#: Of this process's streams, those that nobody reads any more, by their ids.
_unread: set[int] = set()


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Around a command: its output neither fails nor changes what it does.

    Streams that are closed lead nowhere. A sign that a stream's encoding does not have is spelled
    out. Output that nobody reads to its end, as after ``| head``, is no error: the command goes on,
    and ends by its own exit code, or as one that SIGPIPE ends where that says nothing.
    """
    _unread.clear()
    _open()
    _spell(sys.stdout)
    _spell(sys.stderr)
    code: int | str | None = 0
    try:
        yield
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        if not nobody_reads(sys.stdout):
            raise
        lead_nowhere(sys.stdout)
    try:
        # Here, since of what Python itself can't write at its end it tells, by a code of its own.
        sys.stdout.flush()
    except BrokenPipeError:
        lead_nowhere(sys.stdout)
    code = code or (UNREAD if id(sys.stdout) in _unread else 0)
    if code:
        raise SystemExit(code)


def lead_nowhere(stream: Any) -> None:
    """Let what is left for a stream go nowhere, since nobody reads it."""
    _unread.add(id(stream))
    # Or Python would try once more at the end, and say so.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def nobody_reads(stream: Any) -> bool:
    """Whether a pipe that broke is this stream's, and not one to a process of ours."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _open() -> None:
    """Open what is closed: else a run's file gets the number that libraries write output to."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _spell(stream: Any) -> None:
    """Have a stream spell out the signs that its encoding lacks."""
    codecs.register_error(_ERRORS, _spelled)
    if hasattr(stream, "reconfigure"):  # a notebook's has not
        stream.reconfigure(errors=_ERRORS)


def _spelled(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_SPELLED.get(sign, "?") for sign in signs), error.end
