"""A draft process that runs ahead of the target, simulated token by token."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decoders.adaptive.alternatives import RANKS, Alternative, Alternatives, SideDrafts
from decoders.adaptive.outlook import Outlook
from pearl_eval.simulation.acceptance import Text
from pearl_eval.simulation.machine import Machine


@dataclass(slots=True)
class Published:
    """A token: the update its text began with, its position, how long it took and the draft process
    had waited before, when it was there, and what the draft model thought of it.

    ``others``, ``update``, ``prepared``: as of a drafted token of the decoder, but that another
    token is known by its rank among the draft model's choices.
    """

    lineage: int
    position: int
    seconds: float
    waited: float
    ended: float
    confidence: float
    update: int = 0
    others: Sequence[tuple[int, int]] = ()
    prepared: bool = False


class SimulatedForerunner:
    """The draft process: drafts on, but for news and where it must wait, or had better."""

    def __init__(
        self, machine: Machine, ahead: int, alternatives: Alternatives | None = None
    ) -> None:
        self._outlook = Outlook()
        self._alternatives = alternatives or Alternatives()
        self._preparation: SideDrafts | None = None
        self._machine = machine
        self._ahead = ahead
        self._under_way = machine.costs.crossing / 2
        self._free = self._under_way  # when it has made its last token, or was told to begin
        self._length = self._verified = 0
        self._seen = 0  # of the prompt, too
        self._wrong: int | None = None  # where its text first went wrong
        self._lineage = self._update = 0
        self._messages: deque[tuple[float, Callable[[], None]]] = deque()
        self._slow = machine.slowdown.draft
        self._publish = machine.costs.publish
        self._waited = 0.0

    def tell(self, now: float, number: int, verified: int) -> None:
        """So many tokens are verified, by update ``number``, which is sent now."""
        self._send(now, lambda: self._take(number, verified))

    def expect(
        self,
        now: float,
        at: float,
        right: float,
        unseen: float,
        until: int,
        doubts: Sequence[float] = (),
        gains: Sequence[float] = (),
    ) -> None:
        """It is told now what to expect: see ``Forerunner.expect``. Here it slows nobody down by
        more than what is given with the forwards."""

        def hear() -> None:
            self._outlook.expect(at, right, unseen, until, 0.0)
            if gains:
                # The target adds one token itself, so the last of the text need not be drafted.
                room = self._machine.max_new_tokens - 1 - self._verified - 1
                self._preparation = SideDrafts(self._alternatives, doubts, gains, room)

        self._send(now, hear)

    def _send(self, now: float, message: Callable[[], None]) -> None:
        self._messages.append((now + self._under_way, message))

    def run(self, until: float) -> list[Published]:
        """What is there by then."""
        made = []
        while self._hear():
            begins = self._begins()
            if self._free < begins <= until:
                # What it heard by then may have it draft something else, and sooner.
                self._waited += begins - self._free
                self._free = begins
                continue
            chosen = self._choose()
            if self._free < begins or self._there(chosen) > until:
                break
            made.append(self._draft(chosen))
        return made

    def next_there(self) -> float:
        """When the token that it is at will be there, or the one it begins next; that is no sooner,
        where it waits and may hear something before."""
        begins = self._begins()
        if begins == self._free:
            return self._there(self._choose())
        return begins + self._seconds([]) + self._under_way

    def pause(self, now: float) -> float:
        """When it has said that it stopped, told so ``now``: after the token it is at."""
        told = now + self._under_way
        while self._hear() and self._free < told:
            begins = self._begins()
            if begins > self._free:
                self._free = min(begins, told)
            else:
                self._draft(self._choose())
        return max(told, self._free) + self._under_way

    def _begins(self) -> float:
        """When it begins its next token: at once, or when it has waited for news long enough."""
        patience = self._outlook.better_waits(self._free, self._length)
        beside = self._branching
        if not patience or (beside and beside.beats_rest(*self._expected)):
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

    @property
    def _branching(self) -> SideDrafts | None:
        """What is drafted for beside the draft, where the next forward can branch off it: once it
        has read all but the last token of one."""
        return self._preparation if self._length > self._verified else None

    @property
    def _expected(self) -> tuple[Outlook, float, int, int]:
        return self._outlook, self._free, self._length, self._length - self._verified

    def _choose(self) -> list[Alternative]:
        """What else its next forward drafts for."""
        beside = self._branching
        return beside.expected(*self._expected)[0] if beside else []

    def _there(self, chosen: Sequence[Alternative]) -> float:
        """When its next token is there, if it begins it at once."""
        return self._free + self._seconds(chosen) + self._under_way

    def _seconds(self, chosen: Sequence[Alternative]) -> float:
        """Of the next token, and one of each other that is drafted for."""
        window = self._machine.prompt + self._length - self._seen + len(chosen)
        side = self._machine.branches if chosen else self._machine.draft
        return side.forward(window, self._seen) * self._slow + self._publish

    def _draft(self, chosen: Sequence[Alternative]) -> Published:
        seconds = self._seconds(chosen)
        self._free += seconds
        if self._preparation is not None:
            self._preparation.lengthened(chosen)
        if self._seen:
            # Not of the forward that read the prompt.
            self._alternatives.ran(len(chosen), seconds)
            if not chosen:
                self._outlook.drafted(seconds, anew=False)
        self._seen = self._machine.prompt + self._length
        position = self._length
        if self._wrong is None:
            right = self._machine.text.accepted(position, 1) == 1
            self._wrong = None if right else position
        self._length += 1
        waited, self._waited = self._waited, 0.0
        confidence = self._machine.text.confidence(position)
        others = [(self._verified + one.place, one.rank) for one in chosen]
        return Published(
            self._lineage, position, seconds, waited, self._free, confidence, self._update, others
        )

    def _take(self, number: int, verified: int) -> None:
        self._outlook.forget()
        preparation, self._preparation = self._preparation, None
        right = self._length if self._wrong is None else self._wrong
        if right < verified:
            length = 0
            if preparation is not None and right == verified - 1 < self._length:
                chosen = preparation.chosen_at(right - self._verified)
                rank = rank_of(self._machine.text, right)
                if chosen:
                    preparation.came(rank)
                length = preparation.length(chosen[rank]) if rank in chosen else 0
            self._seen = min(self._seen, self._machine.prompt + right)
            if length:
                # All but the last of what was prepared was read.
                self._seen = self._machine.prompt + verified + length - 1
            self._length = verified + length
            accepted = self._machine.text.accepted(verified, length)
            self._wrong = verified + accepted if accepted < length else None
            self._lineage = number
        self._verified, self._update = verified, number


def rank_of(text: Text, position: int) -> int | None:
    """Where the target's token is among the draft model's choices but its first, which is wrong."""
    ranks = (rank for rank in range(RANKS) if text.within(position, rank + 1, rejected=True))
    return next(ranks, None)
