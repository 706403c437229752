"""PEARL without a barrier, simulated event by event: each drafted token, each target forward."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pearl_eval.simulation.machine import Machine, Round, Rounds

#: Of the tokens drafted during a forward of the target, how many it waits for if that is not said.
_SHARE = 0.2


@dataclass(slots=True)
class _Published:
    """A token: when it is there, the update its text began with, its position, and how long it
    took and the draft process had waited before."""

    at: float
    lineage: int
    position: int
    seconds: float
    waited: float


class _Forerunner:
    """The draft process: drafts on, but for news and where it must wait."""

    def __init__(self, machine: Machine, ahead: int) -> None:
        self._machine = machine
        self._ahead = ahead
        self._free = 0.0  # when it has made its last token
        self._length = self._verified = 0
        self._seen = 0  # of the prompt, too
        self._wrong: int | None = None  # where its text first went wrong
        self._lineage = 0
        self._news: deque[tuple[float, int, int]] = deque()
        self._slow = machine.slowdown.draft
        self._publish = machine.costs.publish
        self._waited = 0.0

    def tell(self, at: float, number: int, verified: int) -> None:
        """So many tokens are verified, by update ``number``."""
        self._news.append((at, number, verified))

    def run(self, until: float) -> list[_Published]:
        """What it publishes by then."""
        made = []
        while self._hear() and self._free + self._next() <= until:
            made.append(self._draft())
        return made

    def next(self) -> _Published:
        """The next token it publishes, whenever that is."""
        self._hear()
        return self._draft()

    def pause(self, now: float) -> float:
        """When it has stopped, told so ``now``: after the token it is at."""
        while self._hear() and self._free < now:
            self._draft()
        return max(now, self._free)

    def _hear(self) -> bool:
        """Take in news that is there, or wait for some if it must; whether it may draft then."""
        while self._news:
            at, number, verified = self._news[0]
            if at > self._free:
                if self._length - self._verified < self._ahead:
                    return True
                self._waited += at - self._free
                self._free = at
            self._news.popleft()
            self._take(number, verified)
        return self._length - self._verified < self._ahead

    def _next(self) -> float:
        """Seconds of the next token."""
        window = self._machine.prompt + self._length - self._seen
        return self._machine.draft.forward(window, self._seen) * self._slow + self._publish

    def _draft(self) -> _Published:
        seconds = self._next()
        self._free += seconds
        self._seen = self._machine.prompt + self._length
        position = self._length
        if self._wrong is None and position < self._machine.limit:
            right = self._machine.text.accepted(position, 1) == 1
            self._wrong = None if right else position
        self._length += 1
        waited, self._waited = self._waited, 0.0
        return _Published(self._free, self._lineage, position, seconds, waited)

    def _take(self, number: int, verified: int) -> None:
        wrong = self._wrong is not None and self._wrong < verified
        if wrong or self._length < verified:
            agreed = self._wrong if wrong and self._wrong is not None else self._length
            self._seen = min(self._seen, self._machine.prompt + min(agreed, self._length))
            self._length = verified
            self._wrong = None
            self._lineage = number
        self._verified = verified


class _Reader:
    """What the target's process knows of what was published."""

    def __init__(self, machine: Machine) -> None:
        self._text, self._limit = machine.text, machine.limit
        self._lineage = self._settled = self._there = 0
        self._stale = False
        self._begins = [0]

    def read(self, one: _Published) -> None:
        if one.lineage != self._lineage:
            self._lineage, self._stale = one.lineage, False
            self._settled = self._there = self._begins[one.lineage]
        self._there = min(self._limit, one.position + 1)

    def settle(self, known: int) -> tuple[int, int]:
        """Compare with tokens that the target decoded itself: how many agree, are compared."""
        count = min(self._there, known) - self._settled
        if self._stale or count <= 0:
            return 0, 0
        agreed = self._text.accepted(self._settled, count)
        self._stale = agreed < count
        self._settled += agreed
        return agreed, min(agreed + 1, count)

    def pending(self, known: int) -> int:
        return 0 if self._stale else max(0, self._there - known)

    def judged(self, accepted: int, rejected: bool, known: int) -> None:
        self._settled += accepted
        self._stale = self._stale or rejected
        self._begins.append(known)


@dataclass(frozen=True)
class Free:
    """The target judges all that is published, and adds one token of its own.

    The draft model runs at most ``ahead`` tokens beyond the verified text, and is at least ``lead``
    tokens ahead when a forward begins; ``None`` is what the decoder chooses by itself.
    """

    ahead: int = 48
    lead: int | None = None

    def rounds(self, machine: Machine) -> Rounds:
        text, prompt, limit = machine.text, machine.prompt, machine.limit
        forerunner, reader = _Forerunner(machine, self.ahead), _Reader(machine)
        slow = machine.slowdown.target
        overhead = machine.costs.round
        clock = 0.0
        known = updates = target_seen = 0
        # Seconds and counts of target forwards and drafted tokens, the prompt's left out.
        paces = [0.0, 0.0, 0.0, 0.0]
        while known < limit:
            start = clock
            fresh = forerunner.run(clock)
            for one in fresh:
                reader.read(one)
            agreed, compared = reader.settle(known)
            lead = min(_chosen_lead(self, paces), limit - known - 1)
            while reader.pending(known) < lead:
                one = forerunner.next()
                clock = max(clock, one.at)
                fresh.append(one)
                reader.read(one)
                more = reader.settle(known)
                agreed, compared = agreed + more[0], compared + more[1]
            pending = min(reader.pending(known), limit - known - 1)
            window = prompt + known + pending - target_seen
            verifying = machine.target.forward(window, target_seen) * slow
            drafting = sum(one.seconds for one in fresh)
            if known:
                for index, value in enumerate((verifying, 1, drafting, len(fresh))):
                    paces[index] += value
            accepted = text.accepted(known, pending)
            judged = min(accepted + 1, pending)
            before, known = known, known + accepted + 1
            target_seen = prompt + before + accepted
            reader.judged(accepted, accepted < judged, known)
            seconds = clock - start + verifying + overhead
            if known == limit:
                # The text is over when the draft process has stopped.
                seconds = forerunner.pause(start + seconds) - start
            updates += 1
            forerunner.tell(start + seconds, updates, known)
            yield Round(
                "verify" if pending else "decode",
                start,
                seconds,
                len(fresh),
                compared + judged,
                agreed + accepted,
                drafting,
                verifying,
                sum(one.waited for one in fresh),
                clock - start,
                known,
                window,
            )
            clock = start + seconds


def _chosen_lead(free: Free, paces: list[float]) -> int:
    if free.lead is not None:
        return free.lead
    verifying, forwards, drafting, drafted = paces
    if not verifying or not drafting:
        return 0
    return min(free.ahead, round(_SHARE * (verifying / forwards) / (drafting / drafted)))
