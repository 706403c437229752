"""When the two models of a decoder work."""

from __future__ import annotations

from enum import Enum


class Overlap(Enum):
    """When the draft model and the target work at the same time."""

    #: They take turns: while one works, the other waits.
    never = "never"
    #: In every round they start together, and the round ends when both are done.
    within_rounds = "within rounds"
    #: The draft model works on, whatever round the target is at.
    across_rounds = "across rounds"
