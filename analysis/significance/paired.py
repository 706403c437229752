"""Paired tests over prompts: is one decoder faster than another, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from pearl_eval.results.intervals import mean_ratio_interval
from pearl_eval.results.traces import KEY

#: Fewer problems than this give no test.
_FEWEST = 2


@dataclass(frozen=True)
class PairedTest:
    """The outcome of a paired test over positive figures, one pair for each problem.

    ``n``: problems. ``ratio``: the geometric mean of the problems' ratios, ``low`` and ``high`` its
    95 % interval (``pearl_eval.results.intervals``), NaN below three problems. ``effect``: the
    matched-pairs rank-biserial correlation (Kerby, 2014), from −1, all ratios below 1, to 1, all
    above. ``p``: of Wilcoxon's signed-rank test on the logarithms, two-sided. With n pairs it is no
    less than 2^(1−n), so below six nothing can be significant at 5 %. Below two problems both are
    NaN.
    """

    n: int
    ratio: float
    low: float
    high: float
    effect: float
    p: float

    @classmethod
    def of(cls, ratios: Sequence[float] | NDArray[np.float64]) -> PairedTest:
        """The test of some ratios."""
        logs = np.log(np.asarray(ratios, dtype=float))
        n = len(logs)
        if n < _FEWEST:
            nan = float("nan")
            return cls(n, float(np.exp(logs.mean())) if n else nan, nan, nan, nan, nan)
        low, high = mean_ratio_interval(np.exp(logs)) or (float("nan"), float("nan"))
        ranks = stats.rankdata(np.abs(logs)) * np.sign(logs)
        whole = float(np.abs(ranks).sum())
        effect = float(ranks.sum()) / whole if whole else 0.0
        p = float(stats.wilcoxon(logs).pvalue) if np.any(logs) else 1.0
        return cls(n, float(np.exp(logs.mean())), low, high, effect, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for as many comparisons (Holm, 1979); NaN stays, and counts for none."""
    values = pd.Series(p_values, dtype=float)
    known = values.dropna().sort_values()
    corrected = (known * np.arange(len(known), 0, -1)).cummax().clip(upper=1.0)
    return corrected.reindex(values.index).tolist()


def problem_speeds(records: pd.DataFrame, figure: str) -> pd.DataFrame:
    """One row a prompt that was timed, with ``value``: the figure that is compared.

    ``figure``: ``tokens_per_second``, ``reference_tokens_per_second``, or ``speedup``, in which
    what drifts between two runs cancels, as each has its own reference beside it.
    """
    timed = records[~records["warmup"].astype(bool)]
    theirs = timed["reference_output_ids"].map(len) / timed["reference_seconds"]
    values = {
        "tokens_per_second": timed["new_tokens"] / timed["seconds"],
        "reference_tokens_per_second": theirs,
        "speedup": timed["speedup"],
    }
    return timed[[*KEY, "prompt_tokens"]].assign(value=values[figure])


def ratios(theirs: pd.DataFrame, ours: pd.DataFrame, figure: str) -> NDArray[np.float64]:
    """What ours is over theirs, problem by problem: of prompts that both have timed.

    Samples of one problem, and turns of one dialogue, are alike: of these it is the geometric mean.
    """
    pairs = problem_speeds(theirs, figure).merge(
        problem_speeds(ours, figure), on=[*KEY, "prompt_tokens"], suffixes=("_theirs", "_ours")
    )
    pairs["log"] = np.log(pairs["value_ours"] / pairs["value_theirs"])
    return np.exp(pairs.groupby("task_id", sort=False)["log"].mean().to_numpy(dtype=float))
