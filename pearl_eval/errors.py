"""Errors that are the user's to mend: one clear line, no traceback."""

from __future__ import annotations

from pathlib import Path

#: Longest text that is told of an error of a library's, in characters.
_LONGEST = 300


class UserError(Exception):
    """What was wrong, what was expected, and what to do about it, in one line."""


class EquivalenceViolation(Exception):
    """An output is not the target's own."""


class AnotherRun(UserError):
    """A directory holds a run, but not this one."""


class RunInUse(UserError):
    """Another process is at work on a run; nothing of it may be touched."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory}: another process is at work on the run there: wait for its end, or choose"
            " another directory"
        )


def reason(error: BaseException) -> str:
    """What an error of a library's says, in a line that is not long."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
