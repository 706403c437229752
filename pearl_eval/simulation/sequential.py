"""Decoders whose models take turns, or that have one: the rounds of each, simulated."""

from __future__ import annotations

from decoders.schedule import Alone, Sequential
from pearl_eval.simulation.machine import Machine, Rounds, SimulatedRound


def alone(schedule: Alone, machine: Machine) -> Rounds:
    side = machine.draft if schedule.drafts else machine.target
    cost = machine.costs.library if schedule.library else machine.costs.round
    clock, seen = 0.0, 0
    for known in range(machine.max_new_tokens):
        window = machine.prompt + known - seen
        seconds = side.forward(window, seen)
        seen += window
        if schedule.drafts:
            done = {"drafted": 1, "draft_seconds": seconds}
        else:
            done = {"target_seconds": seconds, "target_tokens": window}
        mode = "draft" if schedule.drafts else "decode"
        yield SimulatedRound(mode, clock, seconds + cost, verified_length=known + 1, **done)  # type: ignore[arg-type]
        clock += seconds + cost


def sequential(schedule: Sequential, machine: Machine) -> Rounds:
    text, prompt, max_new_tokens = machine.text, machine.prompt, machine.max_new_tokens
    target, draft = machine.target, machine.draft
    cost = machine.costs.library if schedule.library else machine.costs.round
    if schedule.looks_up:
        cost += machine.costs.lookup
    gamma = int(schedule.gamma)
    switching: dict[int, float] = {}
    clock = 0.0
    known = target_seen = draft_seen = 0
    while known < max_new_tokens:
        length = prompt + known
        count = min(gamma, max_new_tokens - known - 1)
        if schedule.free:
            count = text.at_hand(known, count)
        drafting = 0.0
        if count and not schedule.free:
            drafting = draft.row(count, draft_seen, length - draft_seen)
            draft_seen = length + count - 1
        window = length + count - target_seen
        verifying = target.forward(window, target_seen)
        accepted = text.accepted(known, count)
        seconds = drafting + verifying + cost
        if drafting:
            if count not in switching:
                switching[count] = machine.forwards.switching(count)
            seconds += switching[count]
        before, known = known, known + accepted + 1
        target_seen = prompt + before + accepted
        draft_seen = min(draft_seen, target_seen)
        if schedule.heuristic:
            gamma = gamma + 2 if accepted == count else max(1, gamma - 1)
        yield SimulatedRound(
            "verify" if count or not (schedule.library or schedule.free) else "decode",
            clock,
            seconds,
            count,
            min(accepted + 1, count),
            accepted,
            drafting,
            verifying,
            verifying,
            drafting,
            known,
            window,
        )
        clock += seconds
