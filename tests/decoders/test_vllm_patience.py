"""How long a step waits for drafts: by hand-computed cases."""

from __future__ import annotations

import pytest

from decoders.vllm.patience import Mean, Pace, Slope, pays


def held(most: int, **measured: float) -> int:
    """For how many drafted tokens of one text a step waits."""
    count = 0
    while pays([count], most, **measured):
        count += 1
    return count


def test_a_forward_is_waited_for_while_its_token_is_worth_more_than_its_time() -> None:
    # 0.8^7 = 0.2097 > 400 × 0.0005 = 0.2 > 0.8^8 = 0.1678
    measured = {"acceptance": 0.8, "rate": 400, "draft_seconds": 0.0004, "token_seconds": 0.0001}
    assert held(12, **measured) == 7
    assert held(5, **measured) == 5


@pytest.mark.parametrize("acceptance", [0.3, 0.4])
def test_a_bad_draft_that_is_expensive_is_never_waited_for(acceptance: float) -> None:
    # 30 tokens a second × 20 ms = 0.6
    assert held(12, acceptance=acceptance, rate=30, draft_seconds=0.02, token_seconds=0.0) == 0


def test_a_slow_target_is_worth_more_waiting() -> None:
    # 40 tokens a second × 0.5 ms = 0.02: 0.8^17 = 0.0225, 0.8^18 = 0.018
    measured = {"acceptance": 0.8, "rate": 40, "draft_seconds": 0.0005, "token_seconds": 0.0}
    assert held(50, **measured) == 17


def test_a_forward_drafts_for_all_texts_that_are_short_of_drafts() -> None:
    measured = {"acceptance": 0.5, "rate": 1000, "draft_seconds": 0.0005, "token_seconds": 0.0001}
    # One: 0.5 < 0.6. Two: 1.0 > 0.7. One of them has its most: as one alone.
    assert not pays([0], 4, **measured)
    assert pays([0, 0], 4, **measured)
    assert not pays([0, 4], 4, **measured)
    # 0.5 + 0.125 = 0.625 < 0.7
    assert not pays([0, 2], 4, **measured)
    # 0.5 + 0.25 = 0.75 > 0.7
    assert pays([0, 1], 4, **measured)


def test_nothing_is_waited_for_where_no_text_can_have_more() -> None:
    free = {"acceptance": 0.9, "rate": 0.0, "draft_seconds": 0.0, "token_seconds": 0.0}
    assert not pays([], 4, **free)
    assert not pays([4, 5], 4, **free)
    assert pays([3], 4, **free)


def test_a_mean_forgets() -> None:
    mean = Mean(kept=0.5)
    assert mean.value == 0
    mean.add(2.0)
    assert mean.value == 2.0
    mean.add(5.0)
    # (0.5 × 2 + 5) / 1.5
    assert mean.value == pytest.approx(4.0)
    assert mean.without_outlier(100.0) == pytest.approx(12.0)
    assert mean.without_outlier(7.0) == 7.0


def test_a_slope_is_that_of_the_line() -> None:
    slope = Slope()
    for step in range(15):
        slope.add(step % 5, 0.01 + 0.0003 * (step % 5))
    assert slope.value == 0.0  # Too few.
    slope.add(0, 0.01)
    assert slope.value == pytest.approx(0.0003)


def test_a_slope_is_none_where_nothing_varies_or_it_falls() -> None:
    flat, falling = Slope(), Slope()
    for step in range(40):
        flat.add(3, 0.01 + 0.001 * (step % 2))
        falling.add(step % 4, 0.02 - 0.001 * (step % 4))
    assert flat.value == falling.value == 0.0


def test_a_pace_is_measured() -> None:
    pace = Pace()
    # Before anything was measured: 4 of 5.
    assert pace.acceptance == pytest.approx(0.8)
    assert pace.rate == 0 and not pace.pays([0], 8)
    for _ in range(3):
        pace.stepped(0.009, 0.010, verified=4, gained=4)
        pace.drafted(0.0005)
    assert pace.rate == 0 and not pace.pays([0], 8)
    pace.stepped(0.009, 0.010, verified=4, gained=4)
    assert pace.rate == pytest.approx(400)
    assert pace.draft_seconds == pytest.approx(0.0005)
    # 0.8^7 = 0.2097 > 400 × 0.0005 = 0.2 > 0.8^8
    assert pace.pays([6], 8) and not pace.pays([7], 8)


def test_acceptance_follows_what_is_judged() -> None:
    pace = Pace()
    pace.judged(1, 1)
    # (4 × 0.99² + 1) / (5 × 0.99² + 2)
    assert pace.acceptance == pytest.approx(4.9204 / 6.9005)
    for _ in range(500):
        pace.judged(2, 3)
    assert pace.acceptance == pytest.approx(0.4, abs=0.01)


def test_a_hiccup_hardly_counts() -> None:
    pace = Pace()
    for step in range(30):
        pace.stepped(0.009, 0.010, verified=step % 3, gained=4)
        pace.drafted(0.0005)
    pace.stepped(60.0, 60.0, verified=2, gained=4)
    pace.drafted(60.0)
    # 3 × the average, of weight 1 in (1 - 0.95^31) / 0.05 = 15.92: 1 + 2 / 15.92
    assert pace.rate == pytest.approx(400 / 1.1256, rel=1e-3)
    assert pace.draft_seconds == pytest.approx(0.0005 * 1.1256, rel=1e-3)
