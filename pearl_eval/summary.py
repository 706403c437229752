"""The figures of a whole run, as ``summary.json`` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy import stats

from decoders.decoder import Generation
from pearl_eval.config import Names
from pearl_eval.distribution import Fit
from pearl_eval.records import Record
from pearl_eval.speed import Speed

#: What tasks may know of a run, where they do not.
_NO_FACTS: dict[str, Any] = {"pass_at_k": None, "isolation": None}


class Tally:
    """Sums over the rounds of a run, so that rounds need not be kept in memory.

    The warm-up prompt counts for what was accepted, not for times.
    """

    def __init__(self) -> None:
        self.judged = 0
        self.accepted = 0
        self.seconds = 0.0
        self.wait_draft_seconds = 0.0
        self.wait_target_seconds = 0.0

    def add(self, generation: Generation, warmup: bool) -> None:
        """Count one prompt's rounds."""
        rounds = generation.rounds
        self.judged += sum(r.judged for r in rounds)
        self.accepted += sum(r.accepted for r in rounds)
        if not warmup:
            self.seconds += generation.seconds
            self.wait_draft_seconds += sum(r.wait_draft_seconds for r in rounds)
            self.wait_target_seconds += sum(r.wait_target_seconds for r in rounds)


def summarize(
    records: Sequence[Record],
    tally: Tally,
    names: Names,
    *,
    settings: dict[str, Any],
    synthetic: bool,
    accuracy_name: str,
    fit: Fit | None,
    facts: dict[str, Any],
    seed: int,
    peak_memory_bytes: int,
    environment: dict[str, Any],
) -> dict[str, Any]:
    """All figures of a run under their contract names.

    A figure that does not exist for the run (an acceptance rate without drafts, a speed of a
    warm-up alone) is ``None``. ``facts`` are those of the task.
    """
    speed = Speed.of(records, seed)
    runs = [length for record in records for length in record.accepted_runs]
    new_tokens = sum(r.new_tokens for r in records)
    target_forwards = sum(r.target_forwards for r in records)
    verdicts = [r.verdict for r in records]
    correct = [bool(r.correct) for r in records]
    theirs = [bool(r.reference_correct) for r in records]
    return {
        "tokens_per_second": speed.tokens_per_second,
        "reference_tokens_per_second": speed.reference_tokens_per_second,
        "speedup": speed.speedup,
        "speedup_ci95": list(speed.speedup_ci95) if speed.speedup_ci95 else None,
        "mean_accepted_tokens": _ratio(sum(runs), len(runs)),
        "acceptance_rate": _ratio(tally.accepted, tally.judged),
        "tokens_per_target_forward": _ratio(new_tokens, target_forwards),
        "target_forwards": target_forwards,
        "draft_forwards": sum(r.draft_forwards for r in records),
        "wait_fraction_draft": _ratio(tally.wait_draft_seconds, tally.seconds),
        "wait_fraction_target": _ratio(tally.wait_target_seconds, tally.seconds),
        "prompts": len(records),
        "new_tokens": new_tokens,
        "exact_match_rate": _ratio(sum(r.exact_match for r in records), len(records)),
        "ties": verdicts.count("tie"),
        "violations": verdicts.count("violation"),
        "sampled_tokens": fit.tokens if fit else None,
        "sampling_p_value": fit.p_value if fit else None,
        "sampling_smallest_bias": fit.smallest_bias if fit else None,
        "accuracy": None if synthetic else _ratio(sum(correct), len(correct)),
        "accuracy_ci95": None if synthetic else _wilson(correct),
        "reference_accuracy": None if synthetic else _ratio(sum(theirs), len(theirs)),
        "accuracy_p_value": None if synthetic else _mcnemar(correct, theirs),
        "accuracy_name": accuracy_name,
        "peak_memory_bytes": peak_memory_bytes,
        "decoder": names.decoder,
        "decoder_settings": settings,
        "pair": names.pair,
        "task": names.task,
        "synthetic": synthetic,
        **(_NO_FACTS | facts),
        "seed": seed,
        "environment": environment,
    }


def _wilson(correct: Sequence[bool]) -> list[float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    interval = stats.binomtest(sum(correct), len(correct)).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def _mcnemar(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Exact p-value of McNemar's test: are two decoders right equally often on the same prompts?"""
    differing = [a for a, b in zip(ours, theirs, strict=True) if a != b]
    return float(stats.binomtest(sum(differing), len(differing)).pvalue) if differing else 1.0


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
