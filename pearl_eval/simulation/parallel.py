"""PEARL, its ablations and its shared variants: rounds in which both models run, simulated."""

from __future__ import annotations

from dataclasses import dataclass

from decoders.schedule import Parallel
from pearl_eval.simulation.machine import Machine, Rounds, SimulatedRound


@dataclass(frozen=True)
class Sides:
    """How long a round's two sides take: each its own seconds, and both until both are done."""

    draft: float
    target: float
    both: float


class Apart:
    """Each model has a place of its own."""

    def sides(
        self, machine: Machine, count: int, unread: int, context: int, target: float
    ) -> Sides:
        """``count`` tokens are drafted of which the first reads ``unread`` tokens after
        ``context``, while the target takes ``target`` seconds."""
        alone = machine.draft.row(count, context, unread)
        verifying, drafting = machine.slowdown.beside(target, alone)
        return Sides(drafting, verifying, max(drafting, verifying))


class OneEnd:
    """Both models compute at one place: what one does, the other has to wait for."""

    def sides(
        self, machine: Machine, count: int, unread: int, context: int, target: float
    ) -> Sides:
        drafting = machine.draft.row(count, context, unread)
        both = drafting + target
        if not drafting or not target:
            return Sides(drafting, target, both)
        # They share alike: the shorter one takes twice its time.
        short = 2 * min(drafting, target)
        sides = (short, both) if drafting <= target else (both, short)
        return Sides(*sides, both)


class BothEnds:
    """Two copies of the draft model draft by turns, each where the target is not computing.

    While the target is in the first half of its layers, the copy at its last end drafts; it stops
    after the token it is at. The other copy reads what that one drafted, and drafts the rest.
    """

    def __init__(self) -> None:
        self._seen = [0, 0]

    def sides(
        self, machine: Machine, count: int, unread: int, context: int, target: float
    ) -> Sides:
        length = context + unread
        # What was rolled back is to be read again by either copy.
        seen = [min(one, length - 1) for one in self._seen]
        half = target / 2
        clock, drafted = 0.0, 0
        while drafted < count and (clock < half or not target):
            at = seen[1]
            clock += machine.draft.forward(length + drafted - at, at)
            seen[1] = length + drafted
            drafted += 1
        busy = clock
        if drafted < count:
            clock = max(clock, half) + machine.costs.handover
            rest = count - drafted
            seconds = machine.draft.row(rest, seen[0], length + drafted - seen[0])
            seen[0] = length + count - 1
            clock += seconds
            busy += seconds
        self._seen = seen
        return Sides(busy, target, max(clock, target))


#: By how many ends of the target have a copy of the draft model.
_PLACES = (Apart, OneEnd, BothEnds)


def parallel(schedule: Parallel, machine: Machine) -> Rounds:
    text, prompt, max_new_tokens = machine.text, machine.prompt, machine.max_new_tokens
    gamma = int(schedule.gamma)
    place = _PLACES[schedule.ends]()
    overhead = machine.costs.round + machine.costs.crossing
    clock = 0.0
    known = pending = target_seen = draft_seen = 0
    while known < max_new_tokens:
        verifies = pending > 0 or schedule.pre_verify
        drafts = not pending or schedule.post_verify
        had_pending = pending > 0
        length = prompt + known + pending
        count = min(gamma, max_new_tokens - known - pending) if drafts else 0
        window = 0
        verifying = 0.0
        if verifies:
            target_seen = min(target_seen, prompt + known - 1)
            window = length - target_seen
            verifying = machine.target.forward(window, target_seen)
            target_seen = length
        unread = 0
        if count:
            draft_seen = min(draft_seen, length - 1)
            unread = length - draft_seen
        sides = place.sides(machine, count, unread, draft_seen, verifying)
        if count:
            draft_seen = length + count - 1
        candidates = min(pending + (count > 0), max_new_tokens - known) if verifies else 0
        accepted = text.accepted(known, candidates)
        known += accepted
        # Where nothing was drafted in its place, the target's own token is kept.
        if accepted < candidates or not (drafts or known == max_new_tokens):
            target_seen = prompt + known
            draft_seen = min(draft_seen, prompt + known)
            known += 1
            pending = 0
        else:
            pending += count - candidates
        seconds = sides.both + overhead
        yield SimulatedRound(
            _mode(verifies, drafts, had_pending),
            clock,
            seconds,
            count,
            min(accepted + 1, candidates),
            accepted,
            sides.draft if count else 0.0,
            sides.target if verifies else 0.0,
            seconds - (sides.draft if count else 0.0),
            max(0.0, sides.both - sides.target),
            known,
            window,
        )
        clock += seconds


def _mode(verifies: bool, drafts: bool, had_pending: bool) -> str:
    if not verifies:
        return "draft"
    if not drafts:
        return "verify"
    return "post-verify" if had_pending else "pre-verify"
