"""PEARL whose models both read what was looked up: its recorded rounds, as long as they take."""

from __future__ import annotations

from decoders.schedule import Retrieving
from pearl_eval.simulation.machine import Machine, Rounds, SimulatedRound
from pearl_eval.simulation.retrievals import Retrieved, RetrievedText


def retrieving(schedule: Retrieving, machine: Machine) -> Rounds:
    text, costs = machine.text, machine.costs
    if not isinstance(text, RetrievedText):
        raise ValueError(
            "how long guesses are follows from no rate, only from recorded rounds (Retrievals); got"
            f" {type(text).__name__}"
        )
    clock = 0.0
    known = pending = target_seen = draft_seen = 0
    for one in text.rounds:
        _check(schedule, one)
        length = machine.prompt + known + pending
        window = length - target_seen + one.target_guessed
        verifying = machine.target.forward(window, target_seen)
        if schedule.target_reads:
            verifying += costs.lookup
        drafting = _drafting(machine, one, draft_seen, length)
        target, draft = machine.slowdown.beside(verifying, drafting)
        both = max(target, draft)
        seconds = both + costs.round + costs.crossing
        drafted = sum(one.given)
        yield SimulatedRound(
            "post-verify" if pending else "pre-verify",
            clock,
            seconds,
            drafted,
            one.judged,
            one.accepted,
            draft,
            target,
            seconds - draft,
            both - target,
            known + one.gained,
            window,
            retrieved=drafted - len(one.given),
        )
        clock += seconds
        if drafted:
            draft_seen = length + drafted - 1
        if one.rejected:
            draft_seen = min(draft_seen, machine.prompt + known + one.accepted)
        pending = one.pending(pending)
        known += one.gained
        # All but the last token was in what it read, or is read again.
        target_seen = machine.prompt + known - 1


def _drafting(machine: Machine, one: Retrieved, seen: int, length: int) -> float:
    """Seconds of a round's draft forwards, after which ``length`` tokens and more are read."""
    seconds = 0.0
    for guessed, given in zip(one.guessed, one.given, strict=True):
        seconds += machine.costs.lookup
        seconds += machine.draft.forward(length - seen + guessed, seen)
        seconds += machine.forwards.choosing * (given - 1)
        length += given
        seen = length - 1
    return seconds


def _check(schedule: Retrieving, one: Retrieved) -> None:
    """ValueError where a recorded round can't be one of such a decoder."""
    forwards, longest = len(one.given), max((one.target_guessed, *one.guessed))
    if forwards > int(schedule.gamma) or longest > schedule.guesses:
        raise ValueError(
            f"a recorded round has {forwards} draft forwards and guesses of up to {longest} tokens,"
            f" more than {schedule} has: only the settings that were recorded can be simulated"
        )
