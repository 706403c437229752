"""``pearl_adaptive`` simulated: never behind, and near to rules that know more."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from tiers import kept

from decoders.adaptive.drafts import NEVER, Situation
from decoders.adaptive.policy import Decision
from decoders.schedule import LOOK_UP
from pearl_eval.simulation import (
    Adaptive,
    Ahead,
    Costs,
    ForwardTimes,
    Parallel,
    Rate,
    Sequential,
    Simulation,
    Surface,
    Trace,
)
from pearl_eval.simulation.acceptance import FixedText
from pearl_eval.simulation.bounds import Dials, Informed, Outcomes

TOKENS, LENGTH = 3072, 256
GAMMAS = (1, 2, 3, 4, 6, 8, 10, 12)


def times(speed_ratio: float, slope: float = 0.02) -> ForwardTimes:
    """A target forward takes 1 s, and ``slope`` for each token it reads beyond one."""
    target = Surface.of({(window, 0): 1 + slope * (window - 1) for window in range(1, 34)})
    return ForwardTimes(target, Surface.constant(1 / speed_ratio))


def simulation(schedule: object, speed_ratio: float, rate: float) -> Simulation:
    return Simulation(schedule, times(speed_ratio), Rate(rate), Costs(), LENGTH, (32,))  # type: ignore[arg-type]


def best_other(speed_ratio: float, rate: float) -> float:
    schedules = [Ahead(96), *(kind(g) for kind in (Sequential, Parallel) for g in GAMMAS)]
    return max(
        simulation(one, speed_ratio, rate).run(TOKENS).tokens_per_second for one in schedules
    )


@pytest.mark.parametrize("speed_ratio", [2.0, 2.7, 5.5, 10.4, 19.3])
@pytest.mark.parametrize("rate", [0.6, 0.8, 0.9])
def test_it_is_never_behind(speed_ratio: float, rate: float) -> None:
    """Behind the best of the others at its best draft length, where the confidences say nothing."""
    found = simulation(Adaptive(96), speed_ratio, rate).run(TOKENS).tokens_per_second
    assert found > 0.965 * best_other(speed_ratio, rate)


@pytest.mark.parametrize(("speed_ratio", "gain"), [(10.4, 1.02), (19.3, 1.05)])
def test_it_is_ahead_of_pearl_where_the_draft_model_is_quick(
    speed_ratio: float, gain: float
) -> None:
    for rate in (0.6, 0.8, 0.9):
        pearl = max(
            simulation(Parallel(gamma), speed_ratio, rate).run(TOKENS).tokens_per_second
            for gamma in GAMMAS
        )
        found = simulation(Adaptive(96), speed_ratio, rate).run(TOKENS).tokens_per_second
        assert found > gain * pearl


@pytest.mark.parametrize("speed_ratio", [3.3, 10.4])
@pytest.mark.parametrize("rate", kept([0.6, 0.85], [0.85]))
def test_the_rule_is_as_good_as_the_best_dials_where_chances_are_known(
    speed_ratio: float, rate: float
) -> None:
    """Where all tokens have one chance, it is held against the best of 30 constant dials."""
    adaptive = simulation(Adaptive(96), speed_ratio, rate)
    dials = [
        adaptive.run(TOKENS, policy=Dials(least, most)).tokens_per_second
        for least, most in product(range(6), (2, 4, 8, 16, 32))
    ]
    informed = adaptive.run(TOKENS, policy=Informed(rate)).tokens_per_second
    learning = adaptive.run(TOKENS).tokens_per_second
    assert informed > 0.965 * max(dials)
    assert 0.97 * informed < learning < 1.02 * informed


def test_who_knows_the_outcomes_is_ahead_of_all() -> None:
    forwards, rate = times(10.0), Rate(0.8)
    learning, informed, knowing = (
        Simulation(Adaptive(96), forwards, texts, Costs(), LENGTH, (32,)).run(TOKENS, policy=policy)
        for texts, policy in (
            (rate, None),
            (rate, Informed(0.8)),
            (Outcomes(rate), Informed(0.8)),
        )
    )
    assert knowing.tokens_per_second > 1.05 * informed.tokens_per_second
    assert knowing.tokens_per_second > 1.05 * learning.tokens_per_second


def test_dials_wait_for_so_many_and_judge_so_many() -> None:
    dials = Dials(2, 3)

    def decision(held: int, arrival: float) -> Decision:
        return dials.decide(Situation([0.5] * held, 0, 0.5, arrival))

    assert [decision(held, 1.0) for held in (0, 1, 2, 3, 4)] == [
        Decision(0, 2), Decision(0, 1), Decision(2, 0), Decision(3, 0), Decision(3, 0),
    ]  # fmt: skip
    # Where no more will come they judge what there is.
    assert decision(1, NEVER) == Decision(1, 0)


def test_outcomes_are_told_by_confidences() -> None:
    text = Outcomes(Trace(("1011",))).text(0, 3, np.random.default_rng(0))
    assert [text.accepted(position, 1) for position in range(3)] == [1, 0, 1]
    assert [text.confidence(position) for position in range(3)] == [0.996, 0.004, 0.996]
    assert Outcomes(Trace(("1",), of=LOOK_UP)).of == LOOK_UP


def test_outcomes_keep_which_of_the_draft_models_choices_came() -> None:
    class Ranked:
        of = LOOK_UP

        def text(self, index: int, length: int, rng: np.random.Generator) -> FixedText:
            right = np.array([True, False, False, False])
            return FixedText(right, None, np.array([1, 2, 4, 9]))

    text = Outcomes(Ranked()).text(0, 4, np.random.default_rng(0))
    assert [
        [text.within(place, count, rejected=True) for count in (1, 2, 3, 4, 99)]
        for place in (1, 2, 3)
    ] == [[True] * 5, [False, False, True, True, True], [False] * 5]
    assert text.within(0, 1, rejected=False)


def test_confidences_of_a_trace_are_made_use_of() -> None:
    """Of two kinds of tokens one is always right, the other by a half; told apart or not."""
    marks = "1101" * 64
    sure = tuple(0.99 if index % 4 != 2 else 0.4 for index in range(256))
    half = "".join(mark if index % 8 < 4 else "1" for index, mark in enumerate(marks))
    speeds = [
        Simulation(Adaptive(96), times(12.0), Trace((half,), confidences=known), Costs(), 256, (9,))
        .run(TOKENS)
        .tokens_per_second
        for known in (None, (sure,))
    ]
    assert speeds[1] > 1.03 * speeds[0]
