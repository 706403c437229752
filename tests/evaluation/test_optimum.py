"""``pearl_adaptive`` and who knows the chances, held against the optimum of what can be decided."""

from __future__ import annotations

import pytest
from optimal_policy import Optimum

from decoders.adaptive import stopping
from decoders.adaptive.policy import Policy
from pearl_eval.simulation import Adaptive, Costs, ForwardTimes, Rate, Simulation, Surface
from pearl_eval.simulation.bounds import Informed

LENGTH, TEXTS = 2048, 3


def forward_lengths(speed_ratio: int, each: int) -> list[int]:
    """Draft forwards that a forward of the target takes, one more for ``each`` tokens it judges."""
    return [speed_ratio + judged // each for judged in range(33)]


def speed(lengths: list[int], rate: float, policy: Policy) -> float:
    """Tokens for each draft forward, on texts of which ends hardly count."""
    target = Surface.of({(judged + 1, 0): float(one) for judged, one in enumerate(lengths)})
    forwards = ForwardTimes(target, Surface.constant(1.0))
    simulation = Simulation(Adaptive(96), forwards, Rate(rate), Costs(), LENGTH, (1,))
    return simulation.run(TEXTS * LENGTH, policy=policy).tokens_per_second


def test_an_optimum_by_hand() -> None:
    """A forward takes 2, and tokens are never right: each run is one forward that judges nothing.

    Always right by a half, and one may be judged at most, at no cost: V(n) = min(1 + V(n + 1),
    2 + V(n + 1) / 2, 2 + V(n) / 4), the last of n ≥ 1. From one at hand on V = 8/3, as each forward
    judges one and adds one. With none at hand 2 + 4/3 is better than 1 + 8/3.
    """
    assert Optimum(0.0, [2, 2, 2]).speed == pytest.approx(1 / 2)
    assert Optimum(0.5, [2, 2]).speed == pytest.approx(1 / (0.5 * (2 + 4 / 3)))
    # A forward of 8: V = 8 + V / 4 from one at hand on, and waiting for that is better.
    assert Optimum(0.5, [8, 8]).speed == pytest.approx(1 / (0.5 * (1 + 32 / 3)))


@pytest.mark.parametrize(
    ("speed_ratio", "each", "rate"),
    [(2, 99, 0.6), (4, 2, 0.6), (8, 99, 0.6), (16, 4, 0.9)],
)
def test_the_rule_is_near_to_the_optimum_and_never_above_it(
    speed_ratio: int, each: int, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a second of waiting is taken to cost no more than it does it is hardly any worse."""
    lengths = forward_lengths(speed_ratio, each)
    best = Optimum(rate, lengths)
    found = speed(lengths, rate, best)
    informed = speed(lengths, rate, Informed(rate))
    learning = speed(lengths, rate, Policy())
    # What is simulated is what was solved, but for what is drawn; the others have the same texts.
    assert found == pytest.approx(best.speed, rel=0.05)
    assert 0.94 * found < informed < 1.005 * found
    assert 0.94 * found < learning < 1.005 * found
    monkeypatch.setattr(stopping, "PRICE", 1.0)
    assert 0.98 * found < speed(lengths, rate, Informed(rate)) < 1.005 * found
