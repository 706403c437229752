"""The figures of a whole run, as ``summary.json`` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from decoders.accepted_runs import acceptance_length, acceptance_rate
from pearl_eval.checks.distribution import Fit
from pearl_eval.config.schema import Names
from pearl_eval.results.intervals import wilson
from pearl_eval.results.records import Record
from pearl_eval.results.speed import EqualHardware, Speed, by_problem

#: What tasks may know of a run, where they do not.
_NO_FACTS: dict[str, Any] = {"pass_at_k": None, "isolation": None, "verification": None}


def summarize(
    records: Sequence[Record],
    names: Names,
    *,
    settings: dict[str, Any],
    about: dict[str, Any],
    synthetic: bool,
    accuracy_name: str,
    fit: Fit | None,
    cost: dict[str, Any],
    facts: dict[str, Any],
    traces: dict[str, Any],
    latency: dict[str, float | None],
    devices: dict[str, Any],
    seed: int,
    reference: str,
    peak_memory_bytes: int,
    environment: dict[str, Any],
) -> dict[str, Any]:
    """All figures of a run under their contract names.

    The warm-up prompt counts for what was accepted, not for times. A figure that does not exist for
    the run (an acceptance rate without drafts, a speed of a warm-up alone) is ``None``.
    ``settings`` are the decoder's, as in use, and ``about`` is what else it says of itself;
    ``facts`` are those of the task and of sampling, ``reference`` says where the reference runs
    came from, ``traces`` and ``latency`` are figures of :class:`pearl_eval.results.traces.Traces`;
    ``devices`` are those that each decoder computes on
    (:class:`pearl_eval.evaluation.hardware.UsedDevices`).
    """
    new_tokens = sum(r.new_tokens for r in records)
    target_forwards = sum(r.target_forwards for r in records)
    timed = [r for r in records if not r.warmup]
    seconds = sum(r.seconds for r in timed)
    verdicts = [r.verdict for r in records]
    scores = _Scores.of(records)
    figures = _figures(records)
    return {
        **figures,
        **latency,
        **_per_device(figures, devices),
        "tokens_per_target_forward": _ratio(new_tokens, target_forwards),
        "target_forwards": target_forwards,
        "draft_forwards": sum(r.draft_forwards for r in records),
        "wait_fraction_draft": _share([r.wait_draft_seconds for r in timed], seconds),
        "wait_fraction_target": _share([r.wait_target_seconds for r in timed], seconds),
        "new_tokens": new_tokens,
        "exact_match_rate": _ratio(sum(r.exact_match for r in records), len(records)),
        "ties": verdicts.count("tie"),
        "violations": verdicts.count("violation"),
        "lossy": verdicts.count("lossy"),
        "lost_from": next((r.task_id for r in records if r.lost), None),
        "runner_up_pass_rate": _runner_up_pass_rate(records),
        "sampled_tokens": fit.tokens if fit else None,
        "sampling_p_value": fit.p_value if fit else None,
        "sampling_smallest_bias": fit.smallest_bias if fit else None,
        "accuracy_ci95": scores.wilson() if scores else None,
        "reference_accuracy": scores.reference_accuracy() if scores else None,
        "accuracy_p_value": scores.mcnemar() if scores else None,
        "accuracy_name": accuracy_name,
        "by_category": _by_category(records),
        "cost": cost,
        "traces": traces,
        "peak_memory_bytes": peak_memory_bytes,
        "decoder": names.decoder,
        "decoder_settings": settings,
        "decoder_about": about,
        "pair": names.pair,
        "task": names.task,
        "synthetic": synthetic,
        **(_NO_FACTS | facts),
        "seed": seed,
        "reference": reference,
        "devices": devices,
        "environment": environment,
    }


@dataclass(frozen=True)
class _Scores:
    """How many of its samples (or turns) each problem has right, of how many.

    Those of one problem are alike, so what counts as independent is problems. ``theirs`` are the
    reference's, where it has a score of its own.
    """

    ours: NDArray[np.float64]
    theirs: NDArray[np.float64] | None
    samples: NDArray[np.float64]

    @classmethod
    def of(cls, records: Sequence[Record]) -> _Scores | None:
        """The scores of records; ``None`` where nothing was scored."""
        scored = [r for r in records if r.correct is not None]
        if not scored:
            return None
        compared = all(r.reference_correct is not None for r in scored)
        columns = [(r.correct, r.reference_correct or False, 1) for r in scored]
        ours, theirs, samples = by_problem(scored, np.array(columns, dtype=float).T)
        return cls(ours, theirs if compared else None, samples)

    def reference_accuracy(self) -> float | None:
        """The share that the reference has right."""
        return None if self.theirs is None else float(self.theirs.sum() / self.samples.sum())

    def wilson(self) -> list[float]:
        """The 95 % interval of the share that is right."""
        return list(wilson(self.ours.sum() / self.samples.sum(), len(self.samples)))

    def mcnemar(self) -> float | None:
        """Exact p-value of McNemar's test: are two decoders right equally often?

        With several samples of a problem it is the sign test of which decoder has more right.
        """
        if self.theirs is None:
            return None
        wins, losses = int((self.ours > self.theirs).sum()), int((self.ours < self.theirs).sum())
        return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _figures(records: Sequence[Record]) -> dict[str, Any]:
    """The figures that a run and each of its categories have."""
    speed = Speed.of(records)
    runs = [length for record in records for length in record.accepted_runs]
    verified = [accepted for record in records for accepted in record.verifications or ()]
    scores = [r.correct for r in records if r.correct is not None]
    return {
        "prompts": len(records),
        "tokens_per_second": speed.tokens_per_second,
        "reference_tokens_per_second": speed.reference_tokens_per_second,
        "mean_prompt_tokens_per_second": speed.mean_prompt_tokens_per_second,
        "reference_mean_prompt_tokens_per_second": speed.reference_mean_prompt_tokens_per_second,
        "speedup": speed.speedup,
        "speedup_of_mean_speeds": speed.speedup_of_mean_speeds,
        "speedup_ci95": list(speed.speedup_ci95) if speed.speedup_ci95 else None,
        "timed_problems": speed.problems,
        **asdict(EqualHardware.of(records)),
        "mean_accepted_tokens": _ratio(sum(runs), len(runs)),
        "acceptance_length": acceptance_length(verified),
        "acceptance_rate": acceptance_rate(records),
        "accuracy": _ratio(sum(scores), len(scores)),
    }


def _per_device(figures: dict[str, Any], devices: dict[str, Any]) -> dict[str, Any]:
    """Tokens per second for each device that a decoder computes on."""
    found = {}
    for name, used in (
        ("", devices["decoder"]),
        ("reference_", devices["reference"]),
        ("equal_hardware_", devices["decoder"]),
    ):
        speed = figures[f"{name}tokens_per_second"]
        found[f"{name}tokens_per_second_per_device"] = None if speed is None else speed / len(used)
    return found


def _by_category(records: Sequence[Record]) -> dict[str, dict[str, Any]] | None:
    """The figures of each category, in the order they come in; ``None`` where there are none."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.category:
            groups.setdefault(record.category, []).append(record)
    return {category: _figures(group) for category, group in groups.items()} or None


def _runner_up_pass_rate(records: Sequence[Record]) -> float | None:
    """Over all tokens of the outputs that are ties; ``None`` where none is."""
    ties = [
        (r.new_tokens, r.runner_up_pass_rate) for r in records if r.runner_up_pass_rate is not None
    ]
    return _ratio(sum(n * rate for n, rate in ties), sum(n for n, _ in ties))


def _share(times: Sequence[float | None], seconds: float) -> float | None:
    """Of ``seconds``; ``None`` where one of the times is not known."""
    known = [one for one in times if one is not None]
    return _ratio(sum(known), seconds) if len(known) == len(times) else None


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
