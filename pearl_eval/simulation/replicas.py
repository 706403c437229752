"""Distributed speculative inference, simulated: several replicas of the target judge one draft."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from decoders.schedule import Replicas
from pearl_eval.simulation.machine import Machine, Rounds, SimulatedRound


class _Draft:
    """Tokens drafted one after the other from position ``base`` on, and when each is there.

    ``seen``: how much of the text the draft model has read, of the prompt, too.
    """

    def __init__(self, machine: Machine, base: int, begins: float, seen: int) -> None:
        self._machine = machine
        self._base = self._end = base
        self._seen = seen
        self._there = [begins]
        # The target adds the last token of a text itself.
        self._last = max(base, machine.max_new_tokens - 1)

    def block_after(self, position: int, gamma: int) -> int:
        """Where the block ends that is the first to end beyond a position, if any does."""
        blocks = (position - self._base) // gamma + 1
        return min(self._base + blocks * gamma, self._last)

    def at(self, end: int) -> float:
        """When all tokens before a position are there."""
        machine = self._machine
        while len(self._there) <= end - self._base:
            length = machine.prompt + self._base + len(self._there) - 1
            seconds = machine.draft.forward(length - self._seen, self._seen)
            self._there.append(self._there[-1] + seconds * machine.slowdown.draft)
            self._seen = length
        return self._there[end - self._base]

    def end(self, now: float) -> int:
        """The position after the last token that is there. Time goes on."""
        while self._end < self._last and self.at(self._end + 1) <= now:
            self._end += 1
        return self._end

    def anew(self, right: int, known: int, begins: float) -> _Draft:
        """The next draft, of which ``known`` tokens are final; the draft model read the ``right``
        ones of them."""
        seen = min(self._seen, self._machine.prompt + right)
        return _Draft(self._machine, known, begins, seen)


@dataclass
class _Replica:
    """A copy of the target: when it is free, and how much of the text it has read."""

    free: float = 0.0
    seen: int = 0


class _Judging(NamedTuple):
    """A forward that reads the text up to position ``end``, the verdict of which is there ``at`` a
    time."""

    end: int
    at: float
    seconds: float
    window: int


def replicas(schedule: Replicas, machine: Machine) -> Rounds:
    """A round ends with a verdict; forwards under way after a rejected token are given up."""
    text, under_way = machine.text, machine.costs.crossing / 2
    copies = [_Replica() for _ in range(schedule.replicas)]
    draft = _Draft(machine, 0, under_way, 0)
    judging = deque[_Judging]()
    clock, known, told, read = 0.0, 0, 0, 0
    while known < machine.max_new_tokens:
        end, begins = draft.block_after(read, schedule.gamma), math.inf
        copy = min(copies, key=lambda one: one.free)
        if end > read:
            begins = max(draft.at(end) + under_way, copy.free)
        if not judging and begins > clock:
            # Nobody is at the next token: the target goes on alone until there is a block.
            end, begins = known, clock
        if not judging or begins < judging[0].at:
            window = machine.prompt + end - copy.seen
            seconds = machine.target.forward(window, copy.seen) * machine.slowdown.target
            copy.free, copy.seen, read = begins + seconds, machine.prompt + end, end
            # What it says counts once what comes before it in the text is settled.
            settled = max(copy.free, judging[-1].at) if judging else copy.free
            judging.append(_Judging(end, settled, seconds, window))
            continue
        verdict = judging.popleft()
        now = verdict.at + machine.costs.round
        there = draft.end(now - under_way)
        # It says one token more than it read, with which the draft is compared, too.
        candidates = min(verdict.end + 1, there) - known
        accepted = text.accepted(known, candidates)
        right, wrong = known + accepted, accepted < candidates
        verified = right + 1 if wrong else verdict.end + 1
        yield SimulatedRound(
            "verify" if candidates else "decode",
            clock,
            now - clock,
            there - told,
            min(accepted + 1, candidates),
            accepted,
            draft.at(there) - draft.at(told),
            verdict.seconds,
            verified_length=verified,
            target_tokens=verdict.window,
        )
        clock, known, told = now, verified, there
        if wrong or there < known:
            judging.clear()
            for one in copies:
                one.free = min(one.free, now)
                one.seen = min(one.seen, machine.prompt + right)
            draft = draft.anew(right, known, now + under_way)
            told = read = known
