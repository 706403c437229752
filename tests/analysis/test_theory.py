"""Closed forms against simulated rounds, and against each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from analysis.theory import theory
from decoders.draft_length import balanced, expected_best
from pearl_eval.simulation import (
    Ahead,
    ForwardTimes,
    Parallel,
    Rate,
    Schedule,
    Sequential,
    Simulation,
    predict_speedup,
)

Speedup = Callable[[float, float, int], float]
#: Of simulated means over 20,000 tokens: a few standard errors.
TOLERANCE = 0.04


def simulated(schedule: Schedule, speed_ratio: float, rate: float) -> float:
    times = ForwardTimes.constant(speed_ratio)
    return predict_speedup(
        schedule, times, Rate(rate), tokens=20_000, max_new_tokens=10_000, seed=1
    )


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("speed_ratio", "gamma"), [(4.0, 4), (4.0, 7), (4.0, 1), (10.0, 3)])
class TestAgainstSimulation:
    @pytest.mark.parametrize(
        ("schedule", "speedup"),
        [
            (Sequential(1), theory.speculative_speedup),
            (Parallel(1), theory.pearl_speedup),
            (Parallel(1, pre_verify=False), theory.no_pre_verify_speedup),
            (Parallel(1, post_verify=False), theory.no_post_verify_speedup),
        ],
    )
    def test_speedup(
        self,
        schedule: Sequential | Parallel,
        speedup: Speedup,
        speed_ratio: float,
        gamma: int,
        rate: float,
    ) -> None:
        expected = speedup(speed_ratio, rate, gamma)
        found = simulated(replace(schedule, gamma=gamma), speed_ratio, rate)
        assert found == pytest.approx(expected, rel=TOLERANCE)

    def test_accepted_tokens(self, speed_ratio: float, gamma: int, rate: float) -> None:
        times = ForwardTimes.constant(speed_ratio)
        pearl, speculative = (
            Simulation(one, times, Rate(rate), max_new_tokens=10_000)
            .run(20_000)
            .mean_accepted_tokens
            for one in (Parallel(gamma), Sequential(gamma))
        )
        assert pearl == pytest.approx(theory.accepted_run(rate), rel=3 * TOLERANCE)
        expected = theory.accepted_in_block(rate, gamma)
        assert speculative == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("speed_ratio", [2.0 + 1 / math.pi, 4.0 + math.sqrt(0.1), 9.0 + 1 / math.e])
def test_async(speed_ratio: float, rate: float) -> None:
    expected = theory.async_speedup(speed_ratio, rate)
    assert simulated(Ahead(96), speed_ratio, rate) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("speed_ratio", [1.5, 3.5, 6.5, 12.5])
def test_what_each_part_of_pearl_is_worth(speed_ratio: float, rate: float) -> None:
    """By draft length: from where on pre-verify pays, and up to where post-verify does."""
    for gamma in range(1, 30):
        pearl = theory.pearl_speedup(speed_ratio, rate, gamma)
        both = max(gamma, speed_ratio)
        pays = pearl > theory.no_pre_verify_speedup(speed_ratio, rate, gamma)
        assert pays == (gamma > rate * both)
        pays = gamma > 1 and pearl > theory.no_post_verify_speedup(speed_ratio, rate, gamma)
        whole = rate**gamma
        slower = (1 - whole) * (both - speed_ratio)
        assert pays == (gamma > 1 and slower < whole * (rate - whole) * both)


@pytest.mark.parametrize(("gamma", "gain"), [(3, 1.2786), (4, 1.2827), (5, 1.2681)])
def test_post_verify_gains_what_it_does_beside_the_authors_ablation(
    gamma: int, gain: float
) -> None:
    """At γ = c and α = 0.9, by hand: for γ = 3 PEARL gives 0.271 / (0.1 · 1.171) = 2.314 tokens a
    round of 3, without post-verify (1 − 0.9^4) / 0.1 = 3.439 come in 3 + 0.9 · 3 = 5.7."""
    pearl = theory.pearl_speedup(gamma, 0.9, gamma)
    assert pearl / theory.no_post_verify_speedup(gamma, 0.9, gamma) == pytest.approx(gain, abs=1e-4)


@pytest.mark.parametrize("rate", [0.1, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("speed_ratio", [1.4, 3.0, 6.5, 12.0])
def test_no_other_draft_length_is_better(speed_ratio: float, rate: float) -> None:
    """Theorem 1, and the best length of vanilla speculative decoding, against all lengths."""
    lengths = range(1, 400)
    best = max(theory.pearl_speedup(speed_ratio, rate, gamma) for gamma in lengths)
    chosen = theory.pearl_gamma(speed_ratio, rate)
    assert theory.pearl_speedup(speed_ratio, rate, chosen) == best
    assert abs(chosen - speed_ratio) < 1
    lengths = range(400)
    best = max(theory.speculative_speedup(speed_ratio, rate, gamma) for gamma in lengths)
    chosen = theory.speculative_gamma(speed_ratio, rate)
    assert theory.speculative_speedup(speed_ratio, rate, chosen) == best


@pytest.mark.parametrize("rate", [0.7, 0.9])
@pytest.mark.parametrize("speed_ratio", [3, 7])
def test_automatic_draft_lengths_follow_the_theory(speed_ratio: int, rate: float) -> None:
    """Where the window costs nothing, ``gamma=auto`` chooses what the closed forms say."""
    flat = {window: float(speed_ratio) for window in range(1, 60)}
    assert expected_best(1.0, flat, rate) == theory.speculative_gamma(speed_ratio, rate)
    assert balanced(1.0, flat) == theory.pearl_gamma(speed_ratio, rate) == speed_ratio


def test_closed_forms_by_hand() -> None:
    """At c = 4 and α = 1/2; of PEARL without a barrier at c = 2.5, where what is drafted by the
    second, fourth … verification has no fraction: 1.5 + (3/4 · 1/4 + 1/32) · 32/31 rounds."""
    assert [theory.speculative_tokens(0.5, gamma) for gamma in (0, 1, 2)] == [1, 1.5, 1.75]
    assert theory.speculative_speedup(4.0, 0.5, 2) == pytest.approx(1.75 * 4 / 6)
    # 3/4 over 1/2 · (3/4 + 1/2), and 31/32 over 1/2 · (31/32 + 1/2) in rounds of 5.
    assert theory.pearl_speedup(4.0, 0.5, 2) == pytest.approx(1.2)
    assert theory.pearl_speedup(4.0, 0.5, 5) == pytest.approx(62 / 47 * 4 / 5)
    # A round of 3 and 1 + 1/16 / (7/8) rounds of 4, for two tokens.
    assert theory.no_pre_verify_speedup(4.0, 0.5, 3) == pytest.approx(2 * 4 / (3 + 4 * 15 / 14))
    assert theory.no_pre_verify_speedup(4.0, 0.5, 1) == pytest.approx(1.5 * 4 / 5)
    assert theory.no_post_verify_speedup(4.0, 0.5, 2) == pytest.approx(1.75 * 4 / 6)
    assert theory.no_post_verify_speedup(4.0, 0.5, 1) == 1.0
    assert theory.async_speedup(2.5, 0.5) == pytest.approx(2 / (1.5 + 7 / 31))
    assert [theory.accepted_in_block(0.5, gamma) for gamma in (1, 3)] == [0.5, 0.875]
    assert [theory.accepted_run(rate) for rate in (0.0, 0.75, 1.0)] == [0.0, 3.0, math.inf]
    assert (theory.speculative_gamma(1.0, 0.3), theory.speculative_gamma(3.0, 1.0)) == (0, 10_000)
    assert [theory.pearl_gamma(ratio, 0.5) for ratio in (0.4, 1.0, 3.0)] == [1, 1, 3]


def test_a_perfect_draft_is_as_fast_as_drafting() -> None:
    assert theory.pearl_speedup(5, 1.0, 5) == theory.async_speedup(5, 1.0) == 5
    assert theory.no_pre_verify_speedup(5, 1.0, 5) == 5
    # Six tokens, the last of them the target's own, in two rounds of five.
    assert theory.no_post_verify_speedup(5, 1.0, 5) == 3.0
    assert theory.pearl_speedup(5, 1 - 1e-9, 5) == pytest.approx(5)
    assert theory.async_speedup(5.3, 1 - 1e-6) == pytest.approx(5.3, rel=1e-3)


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_what_is_no_rate_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        theory.pearl_speedup(4.0, bad, 4)
    for ablation in (theory.no_pre_verify_speedup, theory.no_post_verify_speedup):
        with pytest.raises(ValueError, match="γ at least 1"):
            ablation(4.0, 0.5, 0)
    with pytest.raises(ValueError, match=r"γ at least 0, got c=1\.0 γ=-1"):
        theory.speculative_tokens(0.5, -1)
    with pytest.raises(ValueError, match="c must be more than 0"):
        theory.speculative_gamma(0.0, 0.5)
    with pytest.raises(ValueError, match=r"c of at least 2, got 1\.9"):
        theory.async_speedup(1.9, 0.5)
    assert theory.async_speedup(2.0, 0.0) == 1.0
