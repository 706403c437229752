"""A text whose acceptance changes halfway: ``pearl_adaptive`` learns it anew and stays ahead."""

from __future__ import annotations

import random
import statistics

import numpy as np
import pytest

from decoders.adaptive.calibration import Calibration, doubt, place_kind
from pearl_eval.simulation import (
    Adaptive,
    Ahead,
    ForwardTimes,
    Parallel,
    Schedule,
    Sequential,
    Simulation,
    Trace,
)
from pearl_eval.simulation.forwards import Surface

LENGTH, TEXTS = 256, 12
GAMMAS = (3, 5, 10)


def chance_after(before: float, now: float, count: int) -> float:
    """That of a draft's first token, 128 tokens after one rate and ``count`` after another.

    On average over texts. The draft model's probability says nothing.
    """
    found = []
    for seed in range(60):
        rng, calibration, kind, place = random.Random(seed), Calibration(), doubt(0.5), 0
        for rate in [before] * 128 + [now] * count:
            right = rng.random() < rate
            calibration.learn(kind, kind, place_kind(place), right)
            place = place + 1 if right else 0
        found.append(calibration.drafted.chance(kind, 0))
    return statistics.mean(found)


def test_twenty_tokens_tell_that_a_text_has_changed() -> None:
    """Of the way down more than four fifths, since many of them say so; up more than half."""
    assert chance_after(0.95, 0.5, 0) == pytest.approx(0.95, abs=0.03)
    assert chance_after(0.95, 0.5, 20) < 0.59
    assert chance_after(0.5, 0.95, 0) < 0.6
    assert chance_after(0.5, 0.95, 20) > 0.77


@pytest.mark.parametrize("rates", [(0.95, 0.5), (0.5, 0.95)])
@pytest.mark.parametrize("c", [5, 10])
def test_it_stays_ahead_where_a_text_changes(c: float, rates: tuple[float, float]) -> None:
    """Of all others at the draft length that is best for the whole text."""
    rng = np.random.default_rng(1)
    chances = np.repeat(rates, LENGTH // 2)
    right = rng.random((TEXTS, LENGTH)) < chances
    trace = Trace(tuple("".join("01"[int(one)] for one in text) for text in right))
    windows = {(w, 0): 1 + 0.02 * (w - 1) for w in range(1, 34)}
    times = ForwardTimes(target=Surface.of(windows), draft=Surface.constant(1 / c))

    def speed(schedule: Schedule) -> float:
        own = Simulation(schedule, times, trace, max_new_tokens=LENGTH, prompts=(32,) * TEXTS)
        return own.run().tokens_per_second

    others = [Ahead(96), *map(Sequential, GAMMAS), *map(Parallel, GAMMAS)]
    assert speed(Adaptive(96)) >= 0.99 * max(map(speed, others))
