"""How long a step waits for drafts: by hand-computed cases."""

from __future__ import annotations

import dataclasses

import pytest

from decoders.vllm.patience import MovingMean, MovingSlope, Pace, StepCosts, best_wait, rate


def test_without_waiting_a_text_has_what_was_drafted_meanwhile_or_nothing() -> None:
    # Going on: 10 ms make 10 tokens, one of which the target has chosen itself; at most 3 of them
    # are verified. All agree with probability 1/16 then, and 1/2 where nothing was at hand, so the
    # share of going on is (1/2) / (1 - 1/16 + 1/2) = 8/23. Gained are 1 + 1/2 + 1/4 + 1/8, or 1.
    costs = StepCosts(acceptance=0.5, step=0.010, token=0.0, draft=0.001)
    gained = 15 / 23 * 1 + 8 / 23 * 1.875
    assert rate(0, 3, 1, costs) == pytest.approx(gained / 0.010)
    # Each verified token takes 1 ms.
    slower = dataclasses.replace(costs, token=0.001)
    assert rate(0, 3, 1, slower) == pytest.approx(gained / (0.010 + 8 / 23 * 0.003))


def test_a_wait_is_for_so_many_drafts_and_half_a_forward_of_no_use() -> None:
    # Anew: 2 are at hand after 2.5 ms. The share of going on is (1/8) / (1 - 1/16 + 1/8) = 2/17.
    costs = StepCosts(acceptance=0.5, step=0.010, token=0.0, draft=0.001)
    gained = 15 / 17 * 1.75 + 2 / 17 * 1.875
    assert rate(2, 3, 1, costs) == pytest.approx(gained / (0.010 + 15 / 17 * 0.0025))


def test_a_draft_that_goes_on_may_be_waited_for_too() -> None:
    # A step makes 2.5 tokens: 1.5 are at hand where none is waited for, and for 2 it takes another
    # 0.002. Either state has 2 then, so the share of going on is 1/8 / (1 - 1/8 + 1/8) = 1/8.
    costs = StepCosts(acceptance=0.5, step=0.010, token=0.0, draft=0.004)
    waited = 7 / 8 * 2.5 * 0.004 + 1 / 8 * 0.002
    assert rate(2, 8, 1, costs) == pytest.approx(1.75 / (0.010 + waited))


def test_several_texts_wait_for_the_last_of_them() -> None:
    costs = StepCosts(acceptance=0.5, step=0.010, token=0.0005, draft=0.001)
    gained = 15 / 17 * 1.75 + 2 / 17 * 1.875
    held = 15 / 17 * 2 + 2 / 17 * 3
    some_anew = 1 - (2 / 17) ** 2
    seconds = 0.010 + 2 * held * 0.0005 + some_anew * 0.0025
    assert rate(2, 3, 2, costs) == pytest.approx(2 * gained / seconds)


@pytest.mark.parametrize("acceptance", [0.2, 0.4])
def test_a_bad_draft_that_is_expensive_is_never_waited_for(acceptance: float) -> None:
    assert best_wait(12, 1, StepCosts(acceptance, 0.020, 0.0, 0.010)) == 0


def test_a_draft_as_slow_as_the_target_is_never_waited_for() -> None:
    assert best_wait(12, 1, StepCosts(0.9, 0.020, 0.0, 0.020)) == 0


def test_the_tiny_pair_waits_for_some() -> None:
    for most in (12, 16):
        assert 5 <= best_wait(most, 1, StepCosts(0.87, 0.011, 0.00005, 0.0005)) <= 8


def test_the_longer_a_step_the_more_is_worth_waiting_for() -> None:
    waits = [best_wait(16, 1, StepCosts(0.85, step, 0.0, 0.0005)) for step in (0.002, 0.01, 0.1)]
    assert waits == sorted(waits) and waits[0] <= 2 and waits[-1] == 16


def test_nothing_is_waited_for_that_can_not_be_judged_worth_it() -> None:
    assert best_wait(8, 0, StepCosts(0.9, 0.1, 0.0, 0.0005)) == 0
    assert best_wait(8, 1, StepCosts(0.9, 0.1, 0.0, 0.0)) == 0
    assert best_wait(8, 1, StepCosts(0.9, 0.0, 0.0, 0.0005)) == 0
    # An acceptance of 1 is no division by 0.
    assert best_wait(8, 1, StepCosts(1.0, 0.1, 0.0, 0.0005)) == 8


def test_a_mean_forgets() -> None:
    mean = MovingMean(kept=0.5)
    assert mean.value == 0
    mean.add(2.0)
    assert mean.value == 2.0
    mean.add(5.0)
    # (0.5 × 2 + 5) / 1.5
    assert mean.value == pytest.approx(4.0)
    assert mean.without_outlier(100.0) == pytest.approx(12.0)
    assert mean.without_outlier(7.0) == 7.0


def test_a_slope_is_that_of_the_line() -> None:
    slope = MovingSlope()
    for step in range(15):
        slope.add(step % 5, 0.01 + 0.0003 * (step % 5))
    assert slope.value == 0.0  # Too few.
    slope.add(0, 0.01)
    assert slope.value == pytest.approx(0.0003)
    assert slope.at_zero == pytest.approx(0.01)


def test_a_slope_is_none_where_nothing_varies_or_it_falls() -> None:
    flat, falling = MovingSlope(), MovingSlope()
    for step in range(40):
        flat.add(3, 0.01 + 0.001 * (step % 2))
        falling.add(step % 4, 0.02 - 0.001 * (step % 4))
    assert flat.value == falling.value == 0.0


def test_a_pace_is_measured() -> None:
    pace = Pace()
    # Before anything was measured: 4 of 5.
    assert pace.costs == StepCosts(pytest.approx(0.8), 0.0, 0.0, 0.0)
    for step in range(24):
        if step < 4:
            assert pace.wait(8, 1) == 0
        pace.stepped(0.1 + 0.001 * (step % 5), verified=step % 5)
        pace.drafted(0.0005)
    expected = StepCosts(*(pytest.approx(one) for one in (0.8, 0.1, 0.001, 0.0005)))
    assert pace.costs == expected
    assert pace.wait(8, 1) == best_wait(8, 1, pace.costs) == 8


def quick_draft() -> Pace:
    """Of a run whose draft model is quick beside a step, so that all that it can make pays."""
    pace = Pace()
    for _ in range(4):
        pace.stepped(0.1, verified=0)
        pace.drafted(0.0005)
    assert pace.wait(8, 1) == 8
    return pace


def test_how_long_to_wait_is_chosen_anew_every_8_steps_or_for_other_texts() -> None:
    pace = quick_draft()
    for _ in range(500):
        pace.judged(0, 1)
        pace.drafted(0.2)
    for _ in range(7):
        pace.stepped(0.1, verified=0)
        assert pace.wait(8, 1) == 8
    assert pace.wait(8, 2) == 0
    assert pace.wait(8, 1) == 0


def test_a_choice_is_kept_for_8_steps() -> None:
    pace = quick_draft()
    for _ in range(500):
        pace.drafted(0.2)
    for _ in range(8):
        assert pace.wait(8, 1) == 8
        pace.stepped(0.1, verified=0)
    assert pace.wait(8, 1) == 0


def test_acceptance_follows_what_is_judged() -> None:
    pace = Pace()
    pace.judged(1, 1)
    # (4 × 0.99² + 1) / (5 × 0.99² + 2)
    assert pace.costs.acceptance == pytest.approx(4.9204 / 6.9005)
    for _ in range(500):
        pace.judged(2, 3)
    assert pace.costs.acceptance == pytest.approx(0.4, abs=0.01)


def test_a_hiccup_hardly_counts() -> None:
    pace = Pace()
    for _ in range(30):
        pace.stepped(0.010, verified=2)
        pace.drafted(0.0005)
    pace.stepped(60.0, verified=2)
    pace.drafted(60.0)
    # 3 × the average, of weight 1 in (1 - 0.95^31) / 0.05 = 15.92: 1 + 2 / 15.92. Of steps more
    # are remembered: (1 - 0.99^31) / 0.01 = 26.77.
    assert pace.costs.draft == pytest.approx(0.0005 * 1.1256, rel=1e-3)
    assert pace.costs.step == pytest.approx(0.010 * 1.0747, rel=1e-3)
