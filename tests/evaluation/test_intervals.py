"""The interval of a speedup: its value by hand, and how often it covers."""

from __future__ import annotations

import math

import interval_coverage as simulated
import numpy as np
import pytest

from pearl_eval.results.intervals import (
    mean_ratio_interval,
    total_ratio,
    total_ratio_interval,
    wilson,
)

#: Student's t at 98.25 % with 2 degrees of freedom: (2p − 1) / √(2p(1 − p)).
T2 = 0.965 / math.sqrt(2 * 0.9825 * 0.0175)


def test_the_interval_of_three_problems_by_hand() -> None:
    """12 s of the reference over 4 s: 3. Without each problem 10/3, 8/3 and 6/2, of which the
    logarithms are 1.2040, 0.9808 and 1.0986; the jackknife's standard error is √(2/3 · 0.02493)."""
    ten = np.full(3, 10.0)
    own, reference = np.array([1.0, 1.0, 2.0]), np.array([2.0, 4.0, 6.0])
    assert total_ratio(ten, own, ten, reference) == pytest.approx(3.0)
    interval = total_ratio_interval(ten, own, ten, reference)
    reach = T2 * math.sqrt(2 / 3 * 0.02493)
    assert interval == pytest.approx((3 * math.exp(-reach), 3 * math.exp(reach)), rel=1e-3)


def test_tokens_count_on_both_sides() -> None:
    """Half as many tokens in half the time are no speedup; twice as many are."""
    seconds = np.array([1.0, 2.0, 3.0, 4.0])
    tokens = 8 * seconds
    assert total_ratio(tokens, seconds, tokens / 2, seconds / 2) == pytest.approx(1.0)
    assert total_ratio(2 * tokens, seconds, tokens, seconds) == pytest.approx(2.0)
    interval = total_ratio_interval(2 * tokens, seconds, tokens, seconds)
    assert interval == pytest.approx((2.0, 2.0))


def test_the_interval_of_a_geometric_mean_by_hand() -> None:
    """Logarithms 0, 1 and 2: mean 1, standard error 1/√3."""
    interval = mean_ratio_interval(np.exp([0.0, 1.0, 2.0]))
    reach = T2 / math.sqrt(3)
    assert interval == pytest.approx((math.exp(1 - reach), math.exp(1 + reach)))


def test_fewer_than_three_problems_have_none() -> None:
    two = np.array([1.0, 2.0])
    assert total_ratio_interval(two, two, two, two) is None
    assert mean_ratio_interval(two) is None
    assert mean_ratio_interval([1.0, 2.0, 3.0]) is not None


def test_the_interval_of_a_share_by_hand() -> None:
    """Of 1.96² = 3.8415: 0.25 of 12 is (0.25 + 0.1601 ± 1.96 √(0.015625 + 0.00667)) / 1.3201."""
    assert wilson(0.25, 12) == pytest.approx((0.08894, 0.53231), abs=1e-4)
    # None and all of some are shares, whatever is rounded.
    assert min(wilson(0.0, n)[0] for n in range(1, 100)) == 0.0
    assert max(wilson(1.0, n)[1] for n in range(1, 100)) == 1.0


@pytest.mark.parametrize("size", [3, 5, 10, 20])
def test_it_covers_as_often_as_it_says(size: int) -> None:
    """Samples of what real prompts took; a standard error of the share is 0.5 %."""
    assert 0.93 <= simulated.pooled(simulated.ours, size, samples=250) <= 0.97


def test_a_percentile_bootstrap_covers_too_little() -> None:
    """So the bounds above can fail: they would for what was printed before."""
    method = simulated.METHODS["percentile bootstrap"]
    assert simulated.pooled(method, 5, samples=25) < 0.88


@pytest.mark.nightly
@pytest.mark.parametrize("size", simulated.SIZES)
def test_no_other_interval_covers_as_well(size: int) -> None:
    """The table of docs/intervals.md, with more samples; bootstrap-t is far too wide for three."""
    found = {
        name: simulated.pooled(method, size, samples=400)
        for name, method in simulated.METHODS.items()
    }
    assert 0.94 <= found["chosen"] <= 0.97
    for name in ("percentile bootstrap", "BCa bootstrap"):
        assert found[name] < found["chosen"] - 0.005
