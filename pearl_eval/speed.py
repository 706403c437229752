"""Speeds and speedups with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from pearl_eval.records import Record

_RESAMPLES = 9999


@dataclass(frozen=True)
class Speed:
    """Speed over the prompts after the warm-up. Rates are tokens per second, over total time.

    ``speedup_ci95`` is a 95 % percentile interval by paired bootstrap over problems: the turns of a
    dialogue and the samples of one problem are drawn together, since they are alike. It is ``None``
    below two problems, as the others are below one prompt. ``mean_prompt_*`` are means of the
    prompts' own rates, as the paper's scripts have them for MT-bench and MGSM. ``problems`` is how
    many all is over.
    """

    tokens_per_second: float | None
    reference_tokens_per_second: float | None
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    mean_prompt_tokens_per_second: float | None
    reference_mean_prompt_tokens_per_second: float | None
    problems: int

    @classmethod
    def of(cls, records: Sequence[Record], seed: int = 0, interval: bool = True) -> Speed:
        """Speed of the decoder that made ``records``."""
        timed = [record for record in records if not record.warmup]
        if not timed:
            return cls(None, None, None, None, None, None, 0)
        columns = np.array(
            [
                (r.new_tokens, r.seconds, len(r.reference_output_ids), r.reference_seconds)
                for r in timed
            ],
            dtype=float,
        ).T
        tokens, seconds, reference_tokens, reference_seconds = columns.sum(axis=1).tolist()
        problems = by_problem(timed, columns)
        ci95 = None
        if interval and problems.shape[1] > 1:
            result = bootstrap(
                tuple(problems),
                _total_ratio,
                paired=True,
                vectorized=True,
                n_resamples=_RESAMPLES,
                method="percentile",
                rng=np.random.default_rng(seed),
            )
            low, high = result.confidence_interval
            ci95 = (float(low), float(high))
        return cls(
            tokens / seconds,
            reference_tokens / reference_seconds,
            float(_total_ratio(tokens, seconds, reference_tokens, reference_seconds)),
            ci95,
            float((columns[0] / columns[1]).mean()),
            float((columns[2] / columns[3]).mean()),
            problems.shape[1],
        )


def by_problem(records: Sequence[Record], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of each row of ``columns`` (``[rows, records]``) over the records of each problem."""
    _, problem = np.unique([r.task_id for r in records], return_inverse=True)
    return np.array([np.bincount(problem, weights=row) for row in columns], dtype=float)


def _total_ratio(
    tokens: Any, seconds: Any, reference_tokens: Any, reference_seconds: Any, axis: int = -1
) -> NDArray[np.float64]:
    """Ratio of total tokens per second to the reference's, over ``axis``."""
    tokens, seconds, reference_tokens, reference_seconds = (
        np.asarray(values).sum(axis=axis) if np.ndim(values) else values
        for values in (tokens, seconds, reference_tokens, reference_seconds)
    )
    return np.asarray((tokens / seconds) / (reference_tokens / reference_seconds))
