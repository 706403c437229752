"""An estimate as a table for the terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from pearl_eval.estimate.config import EstimateConfig
from pearl_eval.estimate.job import JobEstimate, estimate_job
from pearl_eval.estimate.known import Knowledge
from pearl_eval.results.table import number
from pearl_eval.shell.console import console
from pearl_eval.shell.jobs import compose_jobs

_GIB = 2**30
_WIDTH = 130


@dataclass(frozen=True)
class Estimate:
    """All jobs of a run or a sweep."""

    jobs: Sequence[JobEstimate]
    config: EstimateConfig

    @classmethod
    def of(cls, config_name: str, arguments: Sequence[str]) -> Estimate:
        """Of the jobs of a command line, with the settings of the estimate that are in it.

        Raises :class:`UserError`, or an error of Hydra's, for the first that can't be run.
        """
        config, rest = EstimateConfig.split(arguments)
        knowledge = Knowledge(config)
        jobs = compose_jobs(config_name, rest)
        return cls([estimate_job(job, config, knowledge) for job in jobs], config)

    @property
    def references(self) -> list[JobEstimate]:
        """One job of each set that shares a reference."""
        return list({job.reference: job for job in self.jobs if job.reference}.values())

    def totals(self) -> dict[str, Any]:
        """Sums over the jobs and the references that they share.

        ``longest_hours`` is how long it takes if all jobs run at once.
        """
        hours = [(job.hours, job.places.gpus) for job in self.jobs]
        shared = [(job.reference_hours, job.places.gpus) for job in self.references]
        known = [(time, gpus) for time, gpus in [*hours, *shared] if time is not None]
        unknown = len(hours) + len(shared) - len(known)
        longest = max((time for time, _ in hours if time is not None), default=0.0)
        waited = max((time for time, _ in shared if time is not None), default=0.0)
        return {
            "jobs": len(self.jobs),
            "references": len(shared),
            "hours": sum(time for time, _ in known),
            "gpu_hours": sum(time * gpus for time, gpus in known),
            "longest_hours": longest + waited,
            "unknown": unknown,
        }

    def describe(self) -> dict[str, Any]:
        """The estimate as plain data."""
        return {
            "version": 1,
            "jobs": [job.describe() for job in self.jobs],
            "totals": self.totals(),
            "settings": asdict(self.config),
        }


def print_estimate(estimate: Estimate) -> None:
    """Table, totals and what they rest on, on standard output."""
    out = console(stderr=False)
    table = Table()
    for heading in ("job", "decoder", "γ", "pair", "task"):
        table.add_column(heading, justify="right" if heading in "jobγ" else "left", no_wrap=True)
    for heading in ("prompts", "GPUs", "GiB each", "hours"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("from")
    for index, job in enumerate(estimate.jobs):
        table.add_row(str(index), *map(escape, _cells(job, estimate.config)))
    out.print(table)
    for line in _notes(estimate):
        out.print(escape(line), soft_wrap=True)


def _cells(job: JobEstimate, config: EstimateConfig) -> list[str]:
    memory = job.places.memory
    size = None if memory is None else memory / _GIB
    return [
        job.decoder,
        "–" if job.gamma is None else str(job.gamma),
        job.pair,
        job.task,
        number(job.prompts, "d"),
        str(job.places.gpus),
        number(size, ".1f") + "!" * _too_large(job, config),
        ("≤ " if job.at_most and job.hours is not None else "") + _hours(job.hours),
        job.basis or "–",
    ]


def _hours(hours: float | None) -> str:
    return number(hours, ".1g" if hours and hours < 0.1 else ".2f")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _too_large(job: JobEstimate, config: EstimateConfig) -> bool:
    memory, gpus, share = job.places.memory, job.places.gpus, job.places.share
    return bool(gpus and memory is not None and memory > share * config.gpu_memory * _GIB)


def _notes(estimate: Estimate) -> list[str]:
    jobs, config = estimate.jobs, estimate.config
    totals = estimate.totals()
    gpu_hours, hours, longest = (
        _hours(totals[name]) for name in ("gpu_hours", "hours", "longest_hours")
    )
    lines = [
        f"{_counted(len(jobs), 'job')}: {gpu_hours} GPU-hours; {hours} hours one after the other,"
        f" {longest} all at once."
    ]
    if estimate.references:
        shared = sum(job.reference_hours or 0.0 for job in estimate.references)
        count = _counted(len(estimate.references), "shared reference")
        lines.append(f"Counted in once: {count}, {_hours(shared)} hours, measured first.")
    else:
        several = len({(job.pair, job.task) for job in jobs}) < len(jobs)
        more = "; reference=cached makes jobs share it" if several else ""
        lines.append(f"In each job's hours is the reference, which decodes every prompt{more}.")
    if totals["unknown"]:
        lines.append(
            f"Not counted in: {_counted(totals['unknown'], 'job')} (–), as nothing is known of"
            " the models' forwards or of how many prompts the task has."
        )
    if any(_too_large(job, config) for job in jobs):
        lines.append(
            f"!: more than one GPU of {config.gpu_memory:g} GiB has, for texts of 4096 tokens; in"
            " vLLM than engine.gpu_memory_utilization gives it of one."
        )
    if any(job.at_most for job in jobs):
        lines.append("≤: an upper limit: texts may stop early, or the decoder has no prediction.")
    for word, meaning in _MEANINGS.items():
        if any(word in job.basis for job in jobs):
            lines.append(f"{word}: {meaning.format(**asdict(config))}")
    lines.append("Nothing was loaded, downloaded or written.")
    return lines


#: What the words of the last column say.
_MEANINGS = {
    "derived": "forward times from the size of the weights, read at {bandwidth:.3g} bytes/s"
    " on a GPU (estimate.bandwidth), {cpu_bandwidth:.3g} on a CPU (estimate.cpu_bandwidth); measure"
    " them: estimate.profile=profile.json",
    "measured": "from estimate.runs or estimate.profile.",
    "given": "by estimate.target_seconds, draft_seconds or acceptance_rate.",
    "assumed": "an acceptance rate of 0.8; give yours: estimate.acceptance_rate=0.7",
}
