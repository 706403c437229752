"""The 95 % interval of a speedup, in runs, comparisons and the benchmark alike; and of a share.

What is independent is problems: samples of one problem, turns of one dialogue and repeats of one
prompt are alike, and are added up before. docs/intervals.md says how the interval was chosen, and
how often it covers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

#: Fewer problems than this have no interval: two say next to nothing of how much problems differ.
FEWEST = 3
#: Level of Student's distribution at which the interval covers 95 % of the time. It is above 95 %
#: since problems are not normally distributed: a few are much slower than the rest, and many a
#: small sample has none of them. Calibrated on recorded runs, see docs/intervals.md.
_LEVEL = 0.965

Interval = tuple[float, float]


def wilson(share: float, n: int) -> Interval:
    """The 95 % interval of a share of ``n`` (Wilson, 1927), which need not be whole in number."""
    z = stats.norm.ppf(0.975)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    # Rounding may take an end a little beyond what a share can be.
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def total_ratio(
    tokens: NDArray[np.float64],
    seconds: NDArray[np.float64],
    other_tokens: NDArray[np.float64],
    other_seconds: NDArray[np.float64],
) -> float:
    """Total tokens per second over the other's; each array has one entry a problem."""
    return float((tokens.sum() / seconds.sum()) / (other_tokens.sum() / other_seconds.sum()))


def total_ratio_interval(
    tokens: NDArray[np.float64],
    seconds: NDArray[np.float64],
    other_tokens: NDArray[np.float64],
    other_seconds: NDArray[np.float64],
) -> Interval | None:
    """The interval of ``total_ratio``; ``None`` for fewer than ``FEWEST`` problems.

    Student's, on the logarithm of the ratio, with the standard error by jackknife: how the ratio
    varies when each problem in turn is left out.
    """
    columns = np.stack([tokens, seconds, other_tokens, other_seconds])
    totals = np.log(columns.sum(axis=1))
    if columns.shape[1] < FEWEST:
        return None
    without = np.log(columns.sum(axis=1, keepdims=True) - columns)
    signs = np.array([1, -1, -1, 1])
    return _interval(float(signs @ totals), signs @ without)


def mean_ratio_interval(ratios: ArrayLike) -> Interval | None:
    """The same of the geometric mean of ratios, one a problem."""
    logs = np.log(np.asarray(ratios, dtype=float))
    if len(logs) < FEWEST:
        return None
    return _interval(float(logs.mean()), (logs.sum() - logs) / (len(logs) - 1))


def _interval(logarithm: float, without: NDArray[np.float64]) -> Interval:
    """From the logarithm of a ratio, and what that is without each of the problems."""
    n = len(without)
    error = np.sqrt((n - 1) * without.var())
    reach = float(stats.t.ppf((1 + _LEVEL) / 2, n - 1) * error)
    low, high = np.exp([logarithm - reach, logarithm + reach]).tolist()
    return low, high
