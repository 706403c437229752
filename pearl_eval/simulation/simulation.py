"""Decoders simulated on made-up or recorded texts: how long they take, and what their rounds do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from decoders.accepted_runs import acceptance_rate, accepted_runs
from decoders.adaptive.alternatives import Alternatives
from decoders.adaptive.policy import Policy
from decoders.schedule import (
    Adaptive,
    Ahead,
    Alone,
    Branching,
    Parallel,
    Replicas,
    Retrieving,
    Schedule,
    Sequential,
    drafts_by,
)
from pearl_eval.simulation.acceptance import Acceptance, BlockRates
from pearl_eval.simulation.ahead import ahead
from pearl_eval.simulation.branching import branching
from pearl_eval.simulation.forwards import ForwardTimes
from pearl_eval.simulation.machine import Costs, Machine, Rounds
from pearl_eval.simulation.parallel import parallel
from pearl_eval.simulation.replicas import replicas
from pearl_eval.simulation.retrieving import retrieving
from pearl_eval.simulation.sequential import alone, sequential


def _rounds(
    schedule: Schedule, machine: Machine, policy: Policy, alternatives: Alternatives
) -> Rounds:
    match schedule:
        case Alone():
            return alone(schedule, machine)
        case Sequential():
            return sequential(schedule, machine)
        case Parallel():
            return parallel(schedule, machine)
        case Retrieving():
            return retrieving(schedule, machine)
        case Branching():
            return branching(schedule, machine)
        case Replicas():
            return replicas(schedule, machine)
        case Adaptive():
            return ahead(schedule, machine, policy, alternatives)
        case Ahead():
            return ahead(schedule, machine)
        case _:
            return schedule.rounds(machine)


def _with_length(schedule: Schedule, forwards: ForwardTimes) -> Schedule:
    """With a draft length that is to be chosen as long as drafting takes as long as verifying: the
    paper's Theorem 1."""
    if not isinstance(getattr(schedule, "gamma", None), str):
        return schedule
    return replace(cast(Any, schedule), gamma=max(1, round(forwards.speed_ratio)))


#: What totals sum up of rounds.
_SUMMED = (
    *("drafted", "judged", "accepted", "draft_seconds", "target_seconds"),
    *("wait_draft_seconds", "wait_target_seconds"),
)


@dataclass
class Result:
    """Totals over all simulated texts: times in seconds, and counts.

    ``judged`` and ``accepted`` are drafted tokens, ``accepted_runs`` the lengths of the runs of
    accepted ones, as :func:`decoders.accepted_runs.accepted_runs` has them of each text.
    """

    tokens: int = 0
    seconds: float = 0.0
    rounds: int = 0
    target_forwards: int = 0
    draft_forwards: int = 0
    drafted: int = 0
    judged: int = 0
    accepted: int = 0
    accepted_runs: list[int] = field(default_factory=list)
    draft_seconds: float = 0.0
    target_seconds: float = 0.0
    wait_draft_seconds: float = 0.0
    wait_target_seconds: float = 0.0
    modes: Counter[str] = field(default_factory=Counter)
    text_seconds: list[float] = field(default_factory=list)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    @property
    def acceptance_rate(self) -> float | None:
        """Accepted drafted tokens over judged ones."""
        return acceptance_rate([self])

    @property
    def mean_accepted_tokens(self) -> float | None:
        """Mean length of a run of accepted tokens."""
        runs = self.accepted_runs
        return sum(runs) / len(runs) if runs else None

    @property
    def tokens_per_target_forward(self) -> float | None:
        return self.tokens / self.target_forwards if self.target_forwards else None


@dataclass(frozen=True)
class Simulation:
    """A decoder on a pair whose forward times and acceptance are given.

    Parameters
    ----------
    schedule
        Which of its models runs when: ``decoder.simulated_as()``, or one of those in
        :mod:`decoders.schedule`, or whatever has ``rounds`` and ``ends_run``. A draft length that
        is ``auto`` is about the speed ratio.
    forwards
        How long forwards take.
    acceptance
        Which drafted tokens are accepted. One recorded of a decoder that looks its drafts up must
        say so (``of``).
    costs
        What all else takes.
    max_new_tokens
        Tokens of each text.
    prompts
        Tokens of the prompts, taken in turns.

    Raises
    ------
    ValueError
        For what can't be simulated.
    """

    schedule: Schedule
    forwards: ForwardTimes
    acceptance: Acceptance
    costs: Costs = field(default_factory=Costs)
    max_new_tokens: int = 256
    prompts: Sequence[int] = (128,)

    def __post_init__(self) -> None:
        if not hasattr(self.schedule, "ends_run"):
            raise ValueError(
                "expected a schedule, as decoder.simulated_as() gives it where a decoder is"
                f" simulated, got {self.schedule!r}"
            )
        object.__setattr__(self, "schedule", _with_length(self.schedule, self.forwards))
        if self.max_new_tokens < 1 or not self.prompts or min(self.prompts) < 1:
            raise ValueError(
                "max_new_tokens and prompts are numbers of tokens, at least 1, got"
                f" max_new_tokens={self.max_new_tokens} prompts={list(self.prompts)}"
            )
        needed = drafts_by(self.schedule)
        if needed and self.acceptance.of != needed:
            raise ValueError(
                f"{self.schedule} needs the acceptance of drafts by: {needed}; got that of"
                f" {self.acceptance.of}"
            )
        if isinstance(self.schedule, Ahead | Replicas) and isinstance(self.acceptance, BlockRates):
            raise ValueError(
                f"{self.schedule} has no blocks to accept tokens by place in: give a rate or a"
                " trace"
            )

    def run(self, tokens: int | None = None, seed: int = 0, policy: Policy | None = None) -> Result:
        """Simulate texts until there are ``tokens`` tokens; without, each prompt once.

        ``policy`` decides where the schedule is ``Adaptive``; without, one that has to learn.
        """
        count = len(self.prompts) if tokens is None else -(-tokens // self.max_new_tokens)
        result, policy, alternatives = Result(), policy or Policy(), Alternatives()
        for index in range(count):
            rounds = list(self.rounds(index, seed, policy, alternatives))
            result.accepted_runs += accepted_runs(rounds, self.schedule.ends_run)
            result.text_seconds.append(sum(one.seconds for one in rounds))
            result.rounds += len(rounds)
            result.modes.update(one.mode for one in rounds)
            result.target_forwards += sum(one.target_tokens > 0 for one in rounds)
            singly = (
                one.drafted - one.retrieved - one.prepared for one in rounds if one.draft_seconds
            )
            result.draft_forwards += sum(singly) + sum(one.branch_forwards for one in rounds)
            for name in _SUMMED:
                total = getattr(result, name) + sum(getattr(one, name) for one in rounds)
                setattr(result, name, total)
            result.tokens += self.max_new_tokens
            result.seconds += result.text_seconds[-1]
        return result

    def rounds(
        self,
        index: int = 0,
        seed: int = 0,
        policy: Policy | None = None,
        alternatives: Alternatives | None = None,
    ) -> Rounds:
        """The rounds of text number ``index``. What is drawn depends on it and the seed alone, so
        that it is the same for every decoder. ``policy`` and ``alternatives`` have what an adaptive
        one's processes learned before.
        """
        text = self.acceptance.text(
            index, self.max_new_tokens, np.random.default_rng([seed, index])
        )
        prompt = self.prompts[index % len(self.prompts)]
        machine = Machine(text, self.max_new_tokens, prompt, self.forwards, self.costs)
        return _rounds(self.schedule, machine, policy or Policy(), alternatives or Alternatives())


def predict_speedup(
    schedule: Schedule,
    forwards: ForwardTimes,
    acceptance: Acceptance,
    *,
    tokens: int = 20_000,
    seed: int = 0,
    costs: Costs | None = None,
    max_new_tokens: int = 256,
    prompts: Sequence[int] = (128,),
) -> float:
    """How many times as fast as autoregressive decoding a decoder would be. A prediction."""
    speeds = [
        Simulation(one, forwards, acceptance, costs or Costs(), max_new_tokens, prompts)
        .run(tokens, seed)
        .tokens_per_second
        for one in (schedule, Alone())
    ]
    return speeds[0] / speeds[1]
