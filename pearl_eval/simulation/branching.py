"""Speculative speculative decoding, simulated: drafts that are prepared for likely outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from decoders.schedule import Branching
from pearl_eval.simulation.machine import Machine, Rounds, SimulatedRound


@dataclass
class _Preparing:
    """What the draft process makes while a draft is judged, forward by forward.

    ``known`` tokens are final, ``drafted`` are judged; ``read`` is how much of the text the draft
    model must read for that.
    """

    machine: Machine
    numbers: Sequence[int]
    known: int
    drafted: int
    read: int

    def fan_out(self, accepted: int) -> int:
        """For how many tokens after an accepted length a draft is prepared."""
        return self.numbers[accepted] if accepted < self.drafted else self.numbers[-1]

    def wanted(self, accepted: int) -> int:
        """How many tokens are drafted after such an outcome: the target adds the last itself."""
        left = self.machine.max_new_tokens - 1 - (self.known + accepted + 1)
        return max(0, min(len(self.numbers) - 1, left))

    def forking(self) -> float:
        """Seconds of the forward that reads the draft, from which all continuations start."""
        length = self.machine.prompt + self.known + self.drafted
        # Of the prompt, which is read first, only the last token can branch.
        side = self.machine.branches if self.known else self.machine.draft
        return side.forward(self.read, length - self.read)

    def forwards(self) -> Iterator[float]:
        """Seconds of each forward, the widest of which reads a token of every continuation."""
        lengths = range(self.drafted + 1)
        if not self.wanted(0):
            return
        yield self.forking()
        context = self.machine.prompt + self.known + self.drafted
        for step in range(self.wanted(0)):
            width = sum(self.fan_out(one) for one in lengths if self.wanted(one) > step)
            yield self.machine.branches.forward(width, context)
            context += width


def branching(schedule: Branching, machine: Machine) -> Rounds:
    text, under_way = machine.text, machine.costs.crossing / 2
    numbers = schedule.numbers()
    known = drafted = target_seen = 0
    clock, told = 0.0, under_way
    preparing = _Preparing(machine, numbers, 0, 0, machine.prompt)
    # Of the draft that is judged: whether it was prepared, and what it took to have it.
    mode, made = "decode", 0
    before = drafting = waited = arrived = 0.0
    while True:
        begin = clock
        waiting = arrived - begin
        window = machine.prompt + known + drafted - target_seen
        verifying = machine.target.forward(window, target_seen) * machine.slowdown.target
        accepted = text.accepted(known, drafted)
        clock = begin + waiting + verifying + machine.costs.round
        judged = min(accepted + 1, drafted)
        verified = known + accepted + 1
        one = SimulatedRound(
            mode,
            begin,
            clock - begin,
            drafted,
            judged,
            accepted,
            before + drafting,
            verifying,
            waited,
            waiting,
            verified,
            window,
            mode == "hit",
            made,
            prepared=drafted if mode == "hit" else 0,
        )
        # Meanwhile the draft process prepares, until it is told the outcome.
        free, heard = told, clock + under_way
        made, before = 0, 0.0
        for seconds in preparing.forwards():
            if free >= heard:
                break
            made += 1
            before += seconds * machine.slowdown.draft
            free = told + before
        waited = max(0.0, heard - free)
        if verified == machine.max_new_tokens:
            # The text is over when the draft process has stopped.
            clock = max(free, heard) + under_way
            yield one._replace(
                seconds=clock - begin,
                draft_seconds=one.draft_seconds + before,
                wait_draft_seconds=one.wait_draft_seconds + waited,
                branch_forwards=one.branch_forwards + made,
            )
            return
        yield one
        wanted, drafting = preparing.wanted(accepted), 0.0
        mode, place = "decode", machine.prompt + verified - 1
        if not made and preparing.wanted(0):
            drafting = preparing.forking()
            made = 1
        if wanted:
            rejected = accepted < drafted
            fan_out = preparing.fan_out(accepted)
            mode = "hit" if text.within(known + accepted, fan_out, rejected) else "miss"
        if mode == "hit":
            whole = min(made - 1, wanted)
            drafting += machine.draft.row(wanted - whole, place, 1 + whole)
            made += wanted - whole
        elif schedule.at_miss:
            drafting += machine.draft.row(wanted, place)
        target_seen = machine.prompt + known + accepted
        known = verified
        drafted = wanted if mode == "hit" or schedule.at_miss else 0
        told = max(free, heard) + drafting
        arrived = told + under_way
        preparing = _Preparing(machine, numbers, known, drafted, drafted + 1)
