"""A draft process that runs ahead of the target, simulated token by token."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from decoders.adaptive.outlook import Outlook
from pearl_eval.simulation.machine import Machine


@dataclass(slots=True)
class Published:
    """A token: the update its text began with, its position, how long it took and the draft process
    had waited before, when it was there, and what the draft model thought of it."""

    lineage: int
    position: int
    seconds: float
    waited: float
    ended: float
    confidence: float


class SimulatedForerunner:
    """The draft process: drafts on, but for news and where it must wait, or had better."""

    def __init__(self, machine: Machine, ahead: int) -> None:
        self._outlook = Outlook()
        self._machine = machine
        self._ahead = ahead
        self._under_way = machine.costs.crossing / 2
        self._free = self._under_way  # when it has made its last token, or was told to begin
        self._length = self._verified = 0
        self._seen = 0  # of the prompt, too
        self._wrong: int | None = None  # where its text first went wrong
        self._lineage = 0
        self._messages: deque[tuple[float, Callable[[], None]]] = deque()
        self._slow = machine.slowdown.draft
        self._publish = machine.costs.publish
        self._waited = 0.0

    def tell(self, now: float, number: int, verified: int) -> None:
        """So many tokens are verified, by update ``number``, which is sent now."""
        self._send(now, lambda: self._take(number, verified))

    def expect(self, now: float, at: float, right: float, unseen: float, until: int) -> None:
        """It is told now what to expect: see ``Outlook.expect``. Here it slows nobody down by more
        than what is given with the forwards."""
        self._send(now, lambda: self._outlook.expect(at, right, unseen, until, 0.0))

    def _send(self, now: float, message: Callable[[], None]) -> None:
        self._messages.append((now + self._under_way, message))

    def run(self, until: float) -> list[Published]:
        """What is there by then."""
        made = []
        while self._hear() and self._free + self._next() + self._under_way <= until:
            begins = self._begins()
            if begins > until:
                break
            if begins > self._free:
                self._waited += begins - self._free
                self._free = begins
            else:
                made.append(self._draft())
        return made

    def next_there(self) -> float:
        """When the token that it is at will be there, or the one it begins next."""
        return self._begins() + self._next() + self._under_way

    def pause(self, now: float) -> float:
        """When it has said that it stopped, told so ``now``: after the token it is at."""
        told = now + self._under_way
        while self._hear() and self._free < told:
            self._draft()
        return max(told, self._free) + self._under_way

    def _begins(self) -> float:
        """When it begins its next token: at once, or when it has waited for news long enough."""
        patience = self._outlook.better_waits(self._free, self._length)
        if not patience:
            return self._free
        return min(self._free + patience, self._messages[0][0] if self._messages else math.inf)

    def _hear(self) -> bool:
        """Take in what it was told, or wait for it if it must; whether it may draft then."""
        while self._messages:
            at, message = self._messages[0]
            if at > self._free:
                if self._may_draft():
                    return True
                self._waited += at - self._free
                self._free = at
            self._messages.popleft()
            message()
        return self._may_draft()

    def _may_draft(self) -> bool:
        # The target adds one token itself, so the last of the text need not be drafted.
        end = self._machine.max_new_tokens - 1
        return self._length - self._verified < self._ahead and self._length < end

    def _next(self) -> float:
        """Seconds of the next token."""
        window = self._machine.prompt + self._length - self._seen
        return self._machine.draft.forward(window, self._seen) * self._slow + self._publish

    def _draft(self) -> Published:
        seconds = self._next()
        self._free += seconds
        if self._seen:
            # Not of the forward that read the prompt.
            self._outlook.drafted(seconds, anew=False)
        self._seen = self._machine.prompt + self._length
        position = self._length
        if self._wrong is None:
            right = self._machine.text.accepted(position, 1) == 1
            self._wrong = None if right else position
        self._length += 1
        waited, self._waited = self._waited, 0.0
        confidence = self._machine.text.confidence(position)
        return Published(self._lineage, position, seconds, waited, self._free, confidence)

    def _take(self, number: int, verified: int) -> None:
        self._outlook.forget()
        right = self._length if self._wrong is None else self._wrong
        if right < verified:
            self._seen = min(self._seen, self._machine.prompt + right)
            self._length = verified
            self._wrong = None
            self._lineage = number
        self._verified = verified
