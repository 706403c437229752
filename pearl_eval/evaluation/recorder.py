"""A run under way: takes what became of its prompts, leaves its files and sums it up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from decoders.round import Round
from pearl_eval.config.schema import Names
from pearl_eval.evaluation.comparison import Comparison
from pearl_eval.evaluation.hardware import UsedDevices
from pearl_eval.evaluation.outcome import Outcome
from pearl_eval.evaluation.plan import Plan
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.evaluation.summary import summarize
from pearl_eval.machine import environment
from pearl_eval.results.records import Record, biased
from pearl_eval.results.traces import Traces
from pearl_eval.shell.console import print_note


class Recorder:
    """Records one run, whether it is alone or one of a benchmark's.

    Parameters
    ----------
    plan
        The run.
    names
        What its decoder, pair and task are called.
    files
        Where it is recorded.
    comparison
        Its decoder, started, beside the reference.

    Attributes
    ----------
    records
        Those of the prompts so far, earlier attempts' included.
    summary, traces
        The figures of ``summary.json``, and what they are made of beside the records. Not there
        before ``finish``.
    """

    summary: dict[str, Any]
    traces: Traces

    def __init__(self, plan: Plan, names: Names, files: RunFiles, comparison: Comparison) -> None:
        self.plan = plan
        self.names = names
        self.files = files
        self.comparison = comparison
        self.records: list[Record] = []

    def begin(self, warmup: list[Round]) -> None:
        """The rounds of the first prompt are there, before any is recorded."""
        self.comparison.after_warmup(warmup)
        self.files.begin(self.comparison.session.settings())

    def add(self, outcome: Outcome) -> None:
        """One more prompt is done."""
        if outcome.new:
            if outcome.record.warmup:
                self.begin(outcome.finished.rounds)
            self.files.append(outcome.record, outcome.finished.rounds)
            if outcome.record.lost and not any(one.lost for one in self.records):
                print_note(
                    f"from {outcome.record.task_id} on without drafts: {outcome.record.lost}"
                )
        self.records.append(outcome.record)

    def peak_memory_bytes(self) -> int:
        """Of all processes, and of this one's GPUs. To be asked before the decoder is stopped."""
        return environment.peak_memory_bytes() + self.comparison.session.peak_memory_bytes()

    def finish(self, memory: int, tell: Callable[[str], object]) -> None:
        """Sum up and write what only a whole run has, once its decoder was stopped.

        ``memory`` is the peak, in bytes; ``tell`` is told what is being done.
        """
        plan, files, records = self.plan, self.files, self.records
        where = plan.setup.describe()
        if plan.decoder.ranks > 1:
            where["target_parallel"] = {"by": "tensor", "ranks": plan.decoder.ranks}
        fit = self.comparison.fit(tell)
        files.write_lines(_task_lines(plan, records, f"{self.names.decoder}-{self.names.pair}"))
        self.traces = Traces.of(map(asdict, records), files.rounds())
        rule = plan.config.reference.hardware
        settings = files.settings or self.comparison.session.settings()
        self.summary = summarize(
            records,
            self.names,
            settings=settings,
            about=plan.decoder.with_settings(settings).describe(),
            synthetic=plan.pair.synthetic,
            accuracy_name=plan.task.accuracy_name,
            fit=fit,
            cost=self.comparison.cost(),
            facts=plan.task.describe()
            | _figures(plan, records)
            | _verification(plan, records)
            | _known(plan, records),
            traces=self.traces.figures(),
            latency=self.traces.latency(),
            devices=UsedDevices.of(plan.setup, plan.decoder, rule).describe(),
            seed=plan.config.seed,
            reference=plan.config.reference.mode.value,
            peak_memory_bytes=memory,
            environment=where
            | {"forward": self.comparison.target.forward, "attempts": files.attempts},
        )
        files.write_summary(self.summary)

    def wrong_outputs(self) -> str:
        """What is wrong with the outputs: see :func:`wrong_outputs`."""
        return wrong_outputs(
            self.records, self.summary, self.plan.decoder.lossless, self.files.directory
        )


def wrong_outputs(
    records: Sequence[Record], summary: Mapping[str, Any], lossless: bool, directory: Path
) -> str:
    """Why the outputs of a finished run are not the target's own; empty where they are."""
    violations = [record.violation for record in records if record.violation]
    if violations:
        return (
            f"{len(violations)} of {len(records)} outputs are not the target's own;"
            f" the first: {violations[0]}; records are in {directory}"
        )
    if lossless and biased(summary):
        return (
            f"the {summary['sampled_tokens']} sampled tokens are not distributed as the target's"
            f" (p = {summary['sampling_p_value']:.1e}); records are in {directory}"
        )
    return ""


def _task_lines(
    plan: Plan, records: Sequence[Record], model: str
) -> Iterator[Mapping[str, dict[str, Any]]]:
    """What the finished problems add to files of the task's own."""
    problems = {prompt.problem.task_id: prompt.problem for prompt in plan.prompts}
    texts: list[str] = []
    for record in () if plan.pair.synthetic else records:
        problem = problems[record.task_id]
        texts = [*texts, record.text] if record.turn > 1 else [record.text]
        if record.turn == len(problem.turns):
            yield plan.task.lines(problem, texts, model)


def _verification(plan: Plan, records: Sequence[Record]) -> dict[str, str | None]:
    """How drafted tokens were judged, where that is a choice and some were."""
    chosen = plan.sampler.random and any(record.judged for record in records)
    return {"verification": plan.sampler.verification if chosen else None}


def _known(plan: Plan, records: Sequence[Record]) -> dict[str, Any]:
    """How many outputs the decoder's corpus holds as a whole, which no check of prompts can see."""
    if plan.corpus is None:
        return {}
    held = [record.task_id for record in records if plan.corpus.holds(record.text)]
    if held:
        print_note(
            f"decoder.corpus={plan.decoder.knows} holds {len(held)} of {len(records)} outputs as a"
            f" whole, first that of {held[0]}: the decoder knew them beforehand"
        )
    return {"outputs_in_corpus": len(held)}


def _figures(plan: Plan, records: Sequence[Record]) -> dict[str, Any]:
    """The task's own figures; none where tokens were made up."""
    if plan.pair.synthetic:
        return {}
    correct: dict[str, list[bool]] = {}
    for record in records:
        correct.setdefault(record.task_id, []).append(bool(record.correct))
    return plan.task.figures(correct)
