"""One step of a decoder, as it is recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

#: A time, or a number of bytes, that is not known: a null in the files of a run.
UNKNOWN = math.nan


class Fate(str, Enum):
    """What became of a drafted token.

    ``accepted``: it is in the text. ``rejected``: the target chose another token in its place.
    ``discarded``: it was never judged, since it follows a rejected token or the end of the text.
    """

    accepted = "accepted"
    rejected = "rejected"
    discarded = "discarded"


@dataclass(slots=True)
class Round:
    """One step of a decoder: the forwards before the next accept/reject decision.

    What an engine does not tell of its steps is ``UNKNOWN``, which is not 0. Of each field, what it
    counts and from where:

    ``mode``
        What the decoder calls this kind of round.
    ``drafted``, ``judged``, ``accepted``
        Tokens. One that is judged may have been drafted in an earlier round.
    ``compared``, ``compared_accepted``
        Those of the judged and of the accepted ones that this round's target forward had no part
        in: they were compared with tokens that the target had chosen itself before they were known.
    ``draft_seconds``, ``target_seconds``
        The forwards' own times.
    ``wait_draft_seconds``, ``wait_target_seconds``
        How long each model waited for the other.
    ``busy_seconds``
        Time of the round in which a model ran.
    ``start``, ``draft_start``, ``target_start``
        When the round and each model's forwards began, in seconds from the start of the prompt's
        decoding. Tokens that a draft model made before the round have a ``draft_start`` before it.
    ``end``
        When its tokens were there, likewise, of an engine that may begin the next round before.
        0: they were there when the next round began, or the text ended.
    ``step_start``, ``step_seconds``
        The step of an engine's worker that the target's forward is a part of. 0: of no engine.
    ``wait_start``
        When the target's side of an engine began to wait for the draft model; 0: it did not.
    ``bytes_sent``
        Between the processes, both directions.
    ``verified_length``
        Generated tokens that are final after the round.
    ``own_tokens``
        Those of them that the target chose itself in this round.
    ``drafted_ids``, ``drafted_at``, ``fates``
        The drafted tokens, the positions in the generated text, from 0, that they were drafted for,
        and what became of each, in whichever round. A tree is given depth first, so that each of
        its tokens follows the last one before it that is a position earlier.
    ``drafted_from``, ``drafted_until``
        When the forward of each drafted token began and ended. Empty where only their sum is known.
    ``target_tokens``
        Tokens that the target's forward read, the prompt's included.
    ``at_hand``, ``awaited``
        Of a decoder that decides how many drafted tokens to judge: how many there were to choose
        from, and for how many of them the target waited.
    ``confidences``
        Of such a decoder, for each drafted token: the probability that the draft model gave it.
    ``chances``
        Of such a decoder, for each token that the target's forward judged: how likely it was
        thought to be the target's own if those before it are.
    ``retrieved``
        Drafted tokens that took no forward of their own: the draft model agreed with what was
        looked up, in the forward of the token before.
    ``guessed``, ``given``
        Of a decoder that looks up so, for each draft forward: how many tokens of what was looked up
        it read after the text's own, and how many drafted tokens it gave.
    ``outcomes``, ``fan_out``, ``hit``
        Of a decoder that prepares drafts for what may become of the round before: for how many
        outcomes there was one, how many of these have the accepted length that came true, and
        whether one is what came true, so that this round's draft was prepared. 0 where no draft was
        wanted, or the one there was is right.
    ``branch_forwards``, ``branch_tokens``, ``branch_seconds``
        Of such a decoder, forwards of the draft model that prepared, since they were last counted:
        how many, how many tokens they read, and how long they took before the outcome was known.
    ``prepared``
        Of the round's drafted tokens, those that came of such forwards and not of one of their own.
    """

    mode: str = ""
    drafted: int = 0
    judged: int = 0
    accepted: int = 0
    draft_seconds: float = 0.0
    target_seconds: float = 0.0
    wait_draft_seconds: float = 0.0
    wait_target_seconds: float = 0.0
    start: float = 0.0
    bytes_sent: float = 0
    verified_length: int = 0
    draft_start: float = 0.0
    target_start: float = 0.0
    drafted_ids: list[int] = field(default_factory=list)
    drafted_at: list[int] = field(default_factory=list)
    target_tokens: int = 0
    fates: list[str] = field(default_factory=list)
    own_tokens: int = 0
    busy_seconds: float = 0.0
    compared: int = 0
    compared_accepted: int = 0
    end: float = 0.0
    step_start: float = 0.0
    step_seconds: float = 0.0
    wait_start: float = 0.0
    drafted_from: list[float] = field(default_factory=list)
    drafted_until: list[float] = field(default_factory=list)
    at_hand: int = 0
    awaited: int = 0
    confidences: list[float] = field(default_factory=list)
    chances: list[float] = field(default_factory=list)
    retrieved: int = 0
    outcomes: int = 0
    fan_out: int = 0
    hit: bool = False
    branch_forwards: int = 0
    branch_tokens: int = 0
    branch_seconds: float = 0.0
    guessed: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    prepared: int = 0

    @property
    def single_forwards(self) -> int:
        """Forwards of a draft model that drafted this round's tokens one by one: none of those that
        were looked up, or prepared beforehand."""
        return self.drafted - self.retrieved - self.prepared if self.draft_seconds else 0

    def since(self, begin: float) -> None:
        """Count times from ``begin``, on the clock that they were read from."""
        self.start -= begin
        self.draft_start = max(0.0, self.draft_start - begin)
        self.target_start = max(0.0, self.target_start - begin)
        self.end = max(0.0, self.end - begin)
        self.step_start = max(0.0, self.step_start - begin)
        self.wait_start = max(0.0, self.wait_start - begin)
        self.drafted_from = [one - begin for one in self.drafted_from]
        self.drafted_until = [one - begin for one in self.drafted_until]
