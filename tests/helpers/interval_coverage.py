"""How often intervals of a speedup cover it: ``python tests/helpers/interval_coverage.py`` prints
a table.

``prompt_milliseconds.json`` has what each prompt took in real runs of the tiny pair, ``[decoder,
reference]``; both generated the same tokens. Of each run, the speedup over all its prompts is taken
for the truth, and samples of a few are drawn from them, with replacement, by a fixed seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pearl_eval.results.intervals import mean_ratio_interval, total_ratio_interval

Numbers = NDArray[np.float64]
#: Ends of the interval that a sample gives: seconds of the decoder, and of the reference.
Method = Callable[[Numbers, Numbers, np.random.Generator], tuple[float, float]]

RUNS: dict[str, Numbers] = {
    name: np.array(pairs, dtype=float).T
    for name, pairs in json.loads(
        Path(__file__).with_name("prompt_milliseconds.json").read_text()
    ).items()
}
SIZES = (3, 5, 10, 20, 50)
_RESAMPLES = 999


def ours(own: Numbers, reference: Numbers, rng: np.random.Generator) -> tuple[float, float]:
    """What runs print."""
    tokens = np.ones_like(own)
    interval = total_ratio_interval(tokens, own, tokens, reference)
    assert interval is not None
    return interval


def geometric_mean(
    own: Numbers, reference: Numbers, rng: np.random.Generator
) -> tuple[float, float]:
    """The interval of the geometric mean of the prompts' ratios, which is another figure."""
    interval = mean_ratio_interval(reference / own)
    assert interval is not None
    return interval


def bootstrap(kind: str) -> Method:
    """A paired bootstrap over prompts, as scipy has it."""

    def method(own: Numbers, reference: Numbers, rng: np.random.Generator) -> tuple[float, float]:
        found = stats.bootstrap(
            (own, reference),
            lambda a, b, axis: b.sum(axis=axis) / a.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            method=kind,
            rng=rng,
        ).confidence_interval
        return float(found.low), float(found.high)

    return method


def studentised(own: Numbers, reference: Numbers, rng: np.random.Generator) -> tuple[float, float]:
    """A bootstrap of the logarithm of the ratio over its standard error (bootstrap-t)."""

    def figures(a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
        error = (b / b.mean(-1, keepdims=True) - a / a.mean(-1, keepdims=True)).std(-1, ddof=1)
        return np.log(b.sum(-1) / a.sum(-1)), np.maximum(error / np.sqrt(a.shape[-1]), 1e-9)

    middle, error = figures(own, reference)
    drawn = rng.integers(0, len(own), (_RESAMPLES, len(own)))
    middles, errors = figures(own[drawn], reference[drawn])
    low, high = np.quantile((middles - middle) / errors, [0.025, 0.975])
    # Where a sample repeats one prompt alone it has no spread, and the ends are far away.
    with np.errstate(over="ignore"):
        return float(np.exp(middle - high * error)), float(np.exp(middle - low * error))


METHODS: Mapping[str, Method] = {
    "chosen": ours,
    "percentile bootstrap": bootstrap("percentile"),
    "BCa bootstrap": bootstrap("BCa"),
    "bootstrap-t": studentised,
    "of the geometric mean": geometric_mean,
}


def coverage(method: Method, run: Numbers, size: int, samples: int, seed: int = 0) -> float:
    """The share of samples whose interval holds the speedup of the whole run."""
    own, reference = run
    truth = reference.sum() / own.sum()
    rng = np.random.default_rng([seed, size])
    covered = 0
    for _ in range(samples):
        drawn = rng.integers(0, len(own), size)
        low, high = method(own[drawn], reference[drawn], rng)
        covered += low <= truth <= high
    return covered / samples


def pooled(method: Method, size: int, samples: int) -> float:
    """Mean coverage over the recorded runs."""
    return float(np.mean([coverage(method, run, size, samples) for run in RUNS.values()]))


def main() -> None:
    """Print the tables of docs/intervals.md."""
    heading = " | ".join(f"{size}" for size in SIZES)
    print(f"| interval | {heading} |\n| --- |{' --- |' * len(SIZES)}")
    for name, method in METHODS.items():
        row = [f"{100 * pooled(method, size, 500):.0f}" for size in SIZES]
        print(f"| {name} | {' | '.join(row)} |", flush=True)
    print(f"\n| run | speedup | {heading} |\n| --- | --- |{' --- |' * len(SIZES)}")
    for name, run in RUNS.items():
        row = [f"{100 * coverage(ours, run, size, 5000):.0f}" for size in SIZES]
        print(f"| {name} | {run[1].sum() / run[0].sum():.2f}× | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
