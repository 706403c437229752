"""One step of a decoder, as it is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Round:
    """One step of a decoder: the forwards before the next accept/reject decision.

    ``drafted``, ``judged`` and ``accepted`` count tokens. ``draft_seconds`` and ``target_seconds``
    are the forwards' own times, ``wait_*`` what each model then waited for the other. ``start``,
    ``draft_start`` and ``target_start``, when each model's forwards began, are seconds from the
    start of the prompt's decoding. ``bytes_sent`` counts both directions between the processes.
    ``verified_length`` is the number of generated tokens that are final. ``drafted_ids`` are the
    drafted tokens, and ``drafted_at`` the positions in the generated text, from 0, that they were
    drafted for. A tree is given depth first, so that each of its tokens follows the last one before
    it that is a position earlier. ``target_tokens`` counts the tokens that the target's forward
    read, the prompt's included.
    """

    mode: str
    drafted: int = 0
    judged: int = 0
    accepted: int = 0
    draft_seconds: float = 0.0
    target_seconds: float = 0.0
    wait_draft_seconds: float = 0.0
    wait_target_seconds: float = 0.0
    start: float = 0.0
    bytes_sent: int = 0
    verified_length: int = 0
    draft_start: float = 0.0
    target_start: float = 0.0
    drafted_ids: list[int] = field(default_factory=list)
    drafted_at: list[int] = field(default_factory=list)
    target_tokens: int = 0

    def since(self, begin: float) -> None:
        """Count times from ``begin``, on the clock that they were read from."""
        self.start -= begin
        self.draft_start = max(0.0, self.draft_start - begin)
        self.target_start = max(0.0, self.target_start - begin)
