"""What the rounds of one prompt say of every token of its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def record(rounds: Iterable[Any]) -> str:
    """The trace of one prompt, from rounds whose judged tokens follow what was verified before.

    Those of PEARL, which judges a drafted token for every position, of its ablations, and of
    vanilla speculative decoding.
    """
    trace = ""
    for one in rounds:
        known = "1" * one.accepted + "0" * (one.judged > one.accepted)
        before = len(trace)
        trace += known.ljust(one.verified_length - before, "-")
    return trace
