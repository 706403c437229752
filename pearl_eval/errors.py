"""Errors that are the user's to mend: one clear line, no traceback."""

from __future__ import annotations


class UserError(Exception):
    """What was wrong, what was expected, and what to do about it, in one line."""


class EquivalenceViolation(Exception):
    """An output is not the target's own."""
