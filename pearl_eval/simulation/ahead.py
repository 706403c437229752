"""PEARL without a barrier, simulated event by event: each drafted token, each target forward."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from decoders.schedule import Ahead
from pearl_eval.simulation.machine import Machine, Rounds, SimulatedRound


@dataclass(slots=True)
class _Published:
    """A token: the update its text began with, its position, and how long it took and the draft
    process had waited before."""

    lineage: int
    position: int
    seconds: float
    waited: float


class _Forerunner:
    """The draft process: drafts on, but for news and where it must wait."""

    def __init__(self, machine: Machine, ahead: int) -> None:
        self._machine = machine
        self._ahead = ahead
        self._under_way = machine.costs.crossing / 2
        self._free = self._under_way  # when it has made its last token, or was told to begin
        self._length = self._verified = 0
        self._seen = 0  # of the prompt, too
        self._wrong: int | None = None  # where its text first went wrong
        self._lineage = 0
        self._news: deque[tuple[float, int, int]] = deque()
        self._slow = machine.slowdown.draft
        self._publish = machine.costs.publish
        self._waited = 0.0

    def tell(self, at: float, number: int, verified: int) -> None:
        """So many tokens are verified, by update ``number``, which is sent now."""
        self._news.append((at + self._under_way, number, verified))

    def run(self, until: float) -> list[_Published]:
        """What is there by then."""
        made = []
        while self._hear() and self._free + self._next() + self._under_way <= until:
            made.append(self._draft())
        return made

    def pause(self, now: float) -> float:
        """When it has said that it stopped, told so ``now``: after the token it is at."""
        told = now + self._under_way
        while self._hear() and self._free < told:
            self._draft()
        return max(told, self._free) + self._under_way

    def _hear(self) -> bool:
        """Take in news that is there, or wait for some if it must; whether it may draft then."""
        while self._news:
            at, number, verified = self._news[0]
            if at > self._free:
                if self._may_draft():
                    return True
                self._waited += at - self._free
                self._free = at
            self._news.popleft()
            self._take(number, verified)
        return self._may_draft()

    def _may_draft(self) -> bool:
        # The target adds one token itself, so the last of the text need not be drafted.
        end = self._machine.max_new_tokens - 1
        return self._length - self._verified < self._ahead and self._length < end

    def _next(self) -> float:
        """Seconds of the next token."""
        window = self._machine.prompt + self._length - self._seen
        return self._machine.draft.forward(window, self._seen) * self._slow + self._publish

    def _draft(self) -> _Published:
        seconds = self._next()
        self._free += seconds
        self._seen = self._machine.prompt + self._length
        position = self._length
        if self._wrong is None:
            right = self._machine.text.accepted(position, 1) == 1
            self._wrong = None if right else position
        self._length += 1
        waited, self._waited = self._waited, 0.0
        return _Published(self._lineage, position, seconds, waited)

    def _take(self, number: int, verified: int) -> None:
        wrong = self._wrong is not None and self._wrong < verified
        if wrong or self._length < verified:
            agreed = self._wrong if wrong and self._wrong is not None else self._length
            self._seen = min(self._seen, self._machine.prompt + min(agreed, self._length))
            self._length = verified
            self._wrong = None
            self._lineage = number
        self._verified = verified


def ahead(schedule: Ahead, machine: Machine) -> Rounds:
    text, prompt, max_new_tokens = machine.text, machine.prompt, machine.max_new_tokens
    forerunner = _Forerunner(machine, schedule.ahead)
    slow = machine.slowdown.target
    overhead = machine.costs.round
    clock = 0.0
    known = updates = target_seen = 0
    lineage = settled = there = 0
    stale = False
    first_known = [0]
    while known < max_new_tokens:
        fresh = forerunner.run(clock)
        for one in fresh:
            if one.lineage != lineage:
                lineage, stale = one.lineage, False
                settled = there = first_known[lineage]
            there = one.position + 1
        # Tokens that the target decoded itself meanwhile, beside published ones.
        agreed = compared = 0
        if not stale and min(there, known) > settled:
            count = min(there, known) - settled
            agreed = text.accepted(settled, count)
            compared = min(agreed + 1, count)
            stale = agreed < count
            settled += agreed
        pending = 0 if stale else max(0, there - known)
        window = prompt + known + pending - target_seen
        verifying = machine.target.forward(window, target_seen) * slow
        accepted = text.accepted(known, pending)
        judged = min(accepted + 1, pending)
        before, known = known, known + accepted + 1
        target_seen = prompt + before + accepted
        stale = stale or accepted < judged
        settled += accepted
        seconds = verifying + overhead
        if known == max_new_tokens:
            # The text is over when the draft process has stopped.
            seconds = forerunner.pause(clock + seconds) - clock
        updates += 1
        first_known.append(known)
        forerunner.tell(clock + seconds, updates, known)
        yield SimulatedRound(
            "verify" if pending else "decode",
            clock,
            seconds,
            len(fresh),
            compared + judged,
            agreed + accepted,
            sum(one.seconds for one in fresh),
            verifying,
            sum(one.waited for one in fresh),
            0.0,
            known,
            window,
        )
        clock += seconds
