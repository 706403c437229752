"""The output of one prompt, and how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from decoders.model.reading import Event
from decoders.round import Round


@dataclass(frozen=True)
class Generation:
    """The output of one prompt and how it came about. Times are in seconds.

    ``lost`` says what the decoder had to go on without, if anything. ``events`` are what the
    target's forwards read, so that they can be made again; none where that is not known.
    """

    output_ids: list[int]
    finish_reason: str
    seconds: float
    rounds: list[Round]
    accepted_runs: list[int]
    lost: str = ""
    events: Sequence[Event] = field(default=(), compare=False, repr=False)

    @property
    def seconds_prefill(self) -> float:
        """Duration of the first target forward, the one that reads the prompt."""
        return next((r.target_seconds for r in self.rounds if r.target_seconds), 0.0)

    @property
    def target_forwards(self) -> int:
        # Of a time that is not known it is known that it is not 0.
        return sum(r.target_seconds != 0 for r in self.rounds)

    @property
    def draft_forwards(self) -> int:
        """Forwards of a draft model, those that prepared drafts as well."""
        return sum(r.single_forwards + r.branch_forwards for r in self.rounds)
