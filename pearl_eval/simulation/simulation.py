"""Decoders simulated on made-up or recorded texts: how long they take, and what their rounds do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from decoders.accepted_runs import accepted_runs
from pearl_eval.simulation.acceptance import DRAFT_MODEL, Acceptance, BlockRates
from pearl_eval.simulation.forwards import ForwardTimes
from pearl_eval.simulation.free import Free
from pearl_eval.simulation.machine import Costs, Machine, Round, Rounds
from pearl_eval.simulation.parallel import BothEnds, OneEnd, Parallel
from pearl_eval.simulation.turns import Alone, Turns

#: Why a decoder is not simulated.
_REFUSED = {
    "lookahead": "it has no drafted tokens with an acceptance rate, but a pool of n-grams",
    "assisted_confidence": "its draft lengths depend on the draft model's confidence, which neither"
    " an acceptance rate nor a trace has",
}
#: In which no drafted token is judged.
_ONE_MODEL = ("autoregressive", "generate", "draft_only")


class Rules(Protocol):
    """A decoder's rounds on one text, and where runs of accepted tokens end in them."""

    def rounds(self, machine: Machine) -> Rounds: ...
    def ends_run(self, one: Round) -> bool: ...


def rules(decoder: str, gamma: int | None = None, ahead: int = 96) -> Rules:
    """What a decoder of ``conf/decoder`` does, by its name.

    ValueError for one that can't be simulated, or one whose draft length is missing.
    """
    if decoder in _REFUSED:
        raise ValueError(f"{decoder} is not simulated: {_REFUSED[decoder]}")
    without_gamma: dict[str, Rules] = {
        "autoregressive": Alone(),
        "generate": Alone(library=True),
        "draft_only": Alone(drafts=True),
        "pearl_async": Free(ahead),
    }
    if decoder in without_gamma:
        return without_gamma[decoder]
    length = gamma if gamma is not None else 1
    with_gamma: dict[str, Rules] = {
        "speculative": Turns(length),
        "assisted_constant": Turns(length, library=True),
        "assisted_heuristic": Turns(length, library=True, heuristic=True),
        "prompt_lookup": Turns(length, library=True, free=True),
        "pearl": Parallel(length),
        "pearl_no_pre_verify": Parallel(length, pre_verify=False),
        "pearl_no_post_verify": Parallel(length, post_verify=False),
        "pearl_shared": Parallel(length, place=BothEnds),
        "pearl_shared_one_end": Parallel(length, place=OneEnd),
    }
    if decoder not in with_gamma:
        known = sorted([*without_gamma, *with_gamma])
        raise ValueError(f"{decoder} is not simulated; these are: {', '.join(known)}")
    if gamma is None or gamma < 1:
        raise ValueError(f"{decoder}: gamma, the draft length, must be at least 1, got {gamma}")
    return with_gamma[decoder]


@dataclass
class Result:
    """What all texts took together. Times are in seconds; the others count.

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
        return self.accepted / self.judged if self.judged else None

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
    decoder
        Its name, as in ``conf/decoder``.
    gamma
        Draft length, of decoders that have one.
    forwards
        How long forwards take.
    acceptance
        Which drafted tokens are accepted. One recorded of a decoder that guesses by itself, as
        ``prompt_lookup``, must say so (``of``).
    costs
        What all else takes.
    limit
        Tokens of each text.
    prompts
        Tokens of the prompts, taken in turns.
    ahead
        How far the draft model of ``pearl_async`` may run ahead.

    Raises
    ------
    ValueError
        For what can't be simulated.
    """

    decoder: str
    forwards: ForwardTimes
    acceptance: Acceptance
    gamma: int | None = None
    costs: Costs = field(default_factory=Costs)
    limit: int = 256
    prompts: Sequence[int] = (128,)
    ahead: int = 96

    def __post_init__(self) -> None:
        rules(self.decoder, self.gamma, self.ahead)
        if self.limit < 1 or not self.prompts or min(self.prompts) < 1:
            raise ValueError(
                "limit and prompts are numbers of tokens, at least 1, got"
                f" limit={self.limit} prompts={list(self.prompts)}"
            )
        needed = self.decoder if self.decoder == "prompt_lookup" else DRAFT_MODEL
        if self.decoder not in _ONE_MODEL and self.acceptance.of != needed:
            raise ValueError(
                f"{self.decoder} needs the acceptance of drafts by: {needed}; got that of"
                f" {self.acceptance.of}"
            )
        if self.decoder == "pearl_async" and isinstance(self.acceptance, BlockRates):
            raise ValueError(
                "pearl_async has no blocks to accept tokens by place in: give a rate or a trace"
            )

    def run(self, tokens: int | None = None, seed: int = 0) -> Result:
        """Simulate texts until there are ``tokens`` tokens; without, each prompt once."""
        count = len(self.prompts) if tokens is None else -(-tokens // self.limit)
        result = Result()
        ends_run = rules(self.decoder, self.gamma, self.ahead).ends_run
        for index in range(count):
            seconds = 0.0
            rounds = list(self.rounds(index, seed))
            result.accepted_runs += accepted_runs(rounds, ends_run)
            for one in rounds:
                seconds += one.seconds
                result.rounds += 1
                result.modes[one.mode] += 1
                result.target_forwards += one.target_tokens > 0
                result.draft_forwards += one.drafted if one.draft_seconds else 0
                result.drafted += one.drafted
                result.judged += one.judged
                result.accepted += one.accepted
                result.draft_seconds += one.draft_seconds
                result.target_seconds += one.target_seconds
                result.wait_draft_seconds += one.wait_draft_seconds
                result.wait_target_seconds += one.wait_target_seconds
            result.tokens += self.limit
            result.seconds += seconds
            result.text_seconds.append(seconds)
        return result

    def rounds(self, index: int = 0, seed: int = 0) -> Rounds:
        """The rounds of text number ``index``. What is drawn depends on it and the seed alone, so
        that it is the same for every decoder."""
        text = self.acceptance.text(index, self.limit, np.random.default_rng([seed, index]))
        prompt = self.prompts[index % len(self.prompts)]
        machine = Machine(text, self.limit, prompt, self.forwards, self.costs)
        return rules(self.decoder, self.gamma, self.ahead).rounds(machine)


def predict_speedup(
    decoder: str,
    forwards: ForwardTimes,
    acceptance: Acceptance,
    gamma: int | None = None,
    *,
    tokens: int = 20_000,
    seed: int = 0,
    costs: Costs | None = None,
    limit: int = 256,
    prompts: Sequence[int] = (128,),
) -> float:
    """How many times as fast as autoregressive decoding a decoder would be. A prediction."""
    speeds = [
        Simulation(name, forwards, acceptance, length, costs or Costs(), limit, prompts)
        .run(tokens, seed)
        .tokens_per_second
        for name, length in ((decoder, gamma), ("autoregressive", None))
    ]
    return speeds[0] / speeds[1]


__all__ = ["Result", "Round", "Simulation", "predict_speedup", "rules"]
