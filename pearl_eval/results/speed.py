"""Speeds, speedups and other ratios of speeds, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pearl_eval.results.intervals import total_ratio, total_ratio_interval
from pearl_eval.results.records import Record


@dataclass(frozen=True)
class Speed:
    """Speed over the prompts after the warm-up. Rates are tokens per second, over total time.

    ``speedup_ci95`` is its 95 % interval over problems (``pearl_eval.results.intervals``): the
    turns of a dialogue and the samples of one problem are added up, since they are alike. It is
    ``None`` below three problems, as the others are below one prompt. ``mean_prompt_*`` are means
    of the prompts' own rates, as the paper's scripts have them for MT-bench and MGSM.
    ``speedup_of_mean_speeds`` is the ratio of the means of the problems' own rates, as Spec-Bench's
    script has it: the turns of a dialogue are added up. ``problems`` is how many all is over.
    """

    tokens_per_second: float | None
    reference_tokens_per_second: float | None
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    mean_prompt_tokens_per_second: float | None
    reference_mean_prompt_tokens_per_second: float | None
    speedup_of_mean_speeds: float | None
    problems: int

    @classmethod
    def of(cls, records: Sequence[Record]) -> Speed:
        """Speed of the decoder that made ``records``."""
        timed = [record for record in records if not record.warmup]
        if not timed:
            return cls(None, None, None, None, None, None, None, 0)
        columns = np.array(
            [
                (r.new_tokens, r.seconds, len(r.reference_output_ids), r.reference_seconds)
                for r in timed
            ],
            dtype=float,
        ).T
        tokens, seconds, reference_tokens, reference_seconds = columns
        problems = by_problem(timed, columns)
        return cls(
            float(tokens.sum() / seconds.sum()),
            float(reference_tokens.sum() / reference_seconds.sum()),
            total_ratio(*problems),
            total_ratio_interval(*problems),
            float((tokens / seconds).mean()),
            float((reference_tokens / reference_seconds).mean()),
            float((problems[0] / problems[1]).mean() / (problems[2] / problems[3]).mean()),
            problems.shape[1],
        )


@dataclass(frozen=True)
class EqualHardware:
    """Speedup over the reference on all that the decoder computes on, and that one's speed.

    As in :class:`Speed`. ``None`` where it was not asked for.
    """

    equal_hardware_tokens_per_second: float | None
    equal_hardware_speedup: float | None
    equal_hardware_speedup_ci95: list[float] | None

    @classmethod
    def of(cls, records: Sequence[Record]) -> EqualHardware:
        """Of the decoder that made ``records``."""
        timed = [record for record in records if not record.warmup]
        measured = [
            (r.new_tokens, r.seconds, r.equal_hardware_new_tokens, r.equal_hardware_seconds)
            for r in timed
            if r.equal_hardware_seconds is not None
        ]
        if not timed or len(measured) < len(timed):
            return cls(None, None, None)
        problems = by_problem(timed, np.array(measured, dtype=float).T)
        interval = total_ratio_interval(*problems)
        return cls(
            float(problems[2].sum() / problems[3].sum()),
            total_ratio(*problems),
            list(interval) if interval else None,
        )


@dataclass(frozen=True)
class Ratio:
    """How many times as fast: total tokens per second over the other's, on the same prompts.

    ``low`` and ``high`` are its 95 % interval (``pearl_eval.results.intervals``), ``None`` below
    three problems. ``spread`` has the least, the quartiles and the most of the problems' own
    ratios.
    """

    value: float
    low: float | None
    high: float | None
    spread: tuple[float, float, float, float, float]

    @classmethod
    def of(cls, records: Sequence[Record], others: Sequence[Record] | None = None) -> Ratio:
        """Of the records of a run over another's, or else over its own reference's."""
        ours = [(r.new_tokens, r.seconds) for r in records]
        theirs = (
            [(len(r.reference_output_ids), r.reference_seconds) for r in records]
            if others is None
            else [(r.new_tokens, r.seconds) for r in others]
        )
        tokens, seconds = by_problem(records, np.array(ours, dtype=float).T)
        rest = by_problem(records if others is None else others, np.array(theirs, dtype=float).T)
        own = (tokens / seconds) / (rest[0] / rest[1])
        least, *quartiles, most = np.quantile(own, [0, 0.25, 0.5, 0.75, 1]).tolist()
        low, high = total_ratio_interval(tokens, seconds, *rest) or (None, None)
        return cls(total_ratio(tokens, seconds, *rest), low, high, (least, *quartiles, most))

    def __str__(self) -> str:
        interval = "" if self.low is None else f" ({self.low:.2f}–{self.high:.2f})"
        return f"{self.value:.2f}×{interval}"


def by_problem(records: Sequence[Record], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of each row of ``columns`` (``[rows, records]``) over the records of each problem."""
    _, problem = np.unique([r.task_id for r in records], return_inverse=True)
    return np.array([np.bincount(problem, weights=row) for row in columns], dtype=float)
