"""One run: every prompt decoded by the reference and by the decoder under test, and compared."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder, Generation
from decoders.model import CachedModel
from decoders.sampler import OwnChoice
from decoders.stopwatch import no_garbage_collection
from pearl_eval import environment
from pearl_eval.config import Names
from pearl_eval.cost import Cost
from pearl_eval.distribution import DistributionCheck, Fit
from pearl_eval.energy import EnergyMeter
from pearl_eval.equivalence import EquivalenceChecker, unchecked_verdict
from pearl_eval.errors import EquivalenceViolation
from pearl_eval.placement import placed
from pearl_eval.plan import Plan, Prompt
from pearl_eval.progress import run_progress
from pearl_eval.records import ROUNDS, Record
from pearl_eval.runfiles import RunFiles
from pearl_eval.summary import summarize
from pearl_eval.traces import Traces
from pearl_eval.tracking import TrackedRun, make_tracker
from tasks.task import Problem, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, names: Names, group: str, directory: Path) -> dict[str, Any]:
    """Run one evaluation and leave its files in ``directory``.

    Parameters
    ----------
    cfg
        The composed configuration.
    names
        What its decoder, pair and task are called.
    group
        Name that the runs of one sweep share in W&B.
    directory
        Output directory.

    Returns
    -------
    The figures of ``summary.json``.

    Raises
    ------
    UserError
        Something in the configuration can't work; raised before weights are loaded.
    DraftProcessError
        The draft process failed, died or did not answer.
    EquivalenceViolation
        Some output is not the target's own; raised after all files are written.
    """
    environment.reset_peak_memory()
    plan = Plan.make(cfg)
    model = f"{names.decoder}-{names.pair}"
    files = RunFiles(directory)
    torch.manual_seed(plan.config.seed)
    with contextlib.ExitStack() as stack:
        stack.callback(files.close)
        plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, enum_to_str=True))
        tags = ["synthetic"] if plan.pair.synthetic else []
        tracker = make_tracker(
            plan.config.tracking, TrackedRun(names, plain, tags, group, directory)
        )
        stack.push(lambda kind, *_: tracker.close(failed=kind is not None))
        stack.enter_context(placed(plan.setup.processes.target))
        bar = stack.enter_context(run_progress(f"{names.decoder:<14}", plan.turns))
        comparison = stack.enter_context(_started(plan))
        bar.started()
        where = plan.setup.describe()
        log.info("target on %s: %s", where["target_device"], where["target_process"])
        log.info("draft on %s: %s", where["draft_device"], where["draft_process"])

        records: list[Record] = []
        texts: list[str] = []
        violations: list[str] = []
        for step, outcome in enumerate(comparison.outcomes()):
            record = outcome.record
            files.append(record, outcome.generation.rounds)
            tracker.log_prompt(record, step)
            records.append(record)
            texts = [*texts, record.text] if record.turn > 1 else [record.text]
            if record.turn == len(outcome.problem.turns) and not plan.pair.synthetic:
                files.append_lines(plan.task.lines(outcome.problem, texts, model))
            if record.warmup:
                plan.decoder.after_warmup(outcome.generation.rounds)
            if outcome.violation:
                violations.append(outcome.violation)
            bar.advance(record)
            log.info("%s", record.line())

        fit = comparison.fit()
        files.close()
        rounds = pd.read_parquet(directory / ROUNDS)
        summary = summarize(
            records,
            names,
            settings=plan.decoder.settings(),
            synthetic=plan.pair.synthetic,
            accuracy_name=plan.task.accuracy_name,
            fit=fit,
            cost=comparison.cost(),
            facts=plan.task.describe() | _figures(plan, records),
            traces=Traces.of(map(asdict, records), rounds).figures(),
            seed=plan.config.seed,
            peak_memory_bytes=environment.peak_memory_bytes()
            + plan.decoder.peak_memory_bytes()
            + comparison.target.memory_elsewhere(),
            environment=plan.setup.describe() | {"forward": comparison.target.forward},
        )
        files.write_summary(summary)
        tracker.finish(summary, records, rounds, files.paths, partial(_timelines, directory))
        if violations:
            raise EquivalenceViolation(
                f"{len(violations)} of {len(records)} outputs are not the target's own;"
                f" the first: {violations[0]}; records are in {directory}"
            )
        if fit and fit.refused and plan.decoder.lossless:
            raise EquivalenceViolation(
                f"the {fit.tokens} sampled tokens are not distributed as the target's"
                f" (p = {fit.p_value:.1e}); records are in {directory}"
            )
    return summary


def _timelines(directory: Path) -> dict[str, Figure]:
    """A picture of what each model did when, by its caption."""
    # Imported late: only tracking draws.
    from pearl_eval.timeline import find_runs, timeline

    return {"the prompt with the median speedup": timeline(find_runs([directory]))}


def _figures(plan: Plan, records: Sequence[Record]) -> dict[str, Any]:
    """The task's own figures; none where tokens were made up."""
    if plan.pair.synthetic:
        return {}
    correct: dict[str, list[bool]] = {}
    for record in records:
        correct.setdefault(record.task_id, []).append(bool(record.correct))
    return plan.task.figures(correct)


@dataclass(frozen=True)
class Outcome:
    """What became of one prompt; ``violation`` says how its output is not the target's own."""

    problem: Problem
    record: Record
    generation: Generation
    violation: str


class Comparison:
    """Decodes prompts by the reference and by the decoder under test, and compares the two."""

    def __init__(self, plan: Plan, target: CachedModel, reference: Decoder) -> None:
        self.target = target
        self._plan = plan
        self._reference = reference
        self._checker = EquivalenceChecker(target, plan.config.reference.tolerance_factor)
        self._distribution = DistributionCheck(target, plan.sampler.probabilities)
        setup = plan.setup
        itemsize = getattr(torch, setup.source.dtype.value).itemsize
        self._meter = EnergyMeter([*setup.devices.target, *setup.devices.draft])
        self._cost = Cost(plan.pair.sizes, itemsize)
        self._reference_cost = Cost({"target": plan.pair.sizes["target"]}, itemsize)

    def outcomes(self) -> Iterator[Outcome]:
        """Decode and compare the prompts of the run, one after the other.

        Each turn of a dialogue follows the *reference's* answers to those before, so that a tie in
        one does not void the comparison of the next.
        """
        for index, first in enumerate(self._plan.prompts):
            prompt: Prompt | None = first
            while prompt is not None:
                swap = (index + prompt.turn) % 2 == 1
                generation, reference = self._decode_both(prompt, swap)
                warmup = index == 0 and prompt is first
                yield self._compare(prompt, generation, reference, warmup)
                answer = self._plan.pair.answer(reference.output_ids)
                prompt = self._plan.next_turn(prompt, answer)

    def _compare(
        self, prompt: Prompt, generation: Generation, reference: Generation, warmup: bool
    ) -> Outcome:
        plan = self._plan
        limit, stop_ids = plan.task.max_new_tokens, plan.stop_ids
        output, expected = generation.output_ids, reference.output_ids
        verifier = plan.sampler.verifier(prompt.seed, len(prompt.ids))
        if plan.sampler.random:
            self._distribution.add(prompt.ids, output)
        if not plan.decoder.lossless:
            verdict = unchecked_verdict("lossy", output, expected)
        elif isinstance(verifier, OwnChoice):
            verdict = self._checker.compare(prompt.ids, output, expected, limit, stop_ids, verifier)
        else:
            verdict = unchecked_verdict("sampled", output, expected)
        text, score, reference_score = "", None, None
        if not plan.pair.synthetic:
            text, theirs = self._text(prompt, output), self._text(prompt, expected)
            score = reference_score = plan.task.score(prompt.problem, text)
            if score is None:
                score = Score(text == theirs)
            elif output != expected:
                reference_score = plan.task.score(prompt.problem, theirs)
        record = Record.make(
            prompt,
            generation,
            reference,
            verdict,
            text,
            score=score,
            reference_score=reference_score,
            warmup=warmup,
            synthetic=plan.pair.synthetic,
        )
        where = f"{record.task_id}, turn {prompt.turn}" if prompt.turn else record.task_id
        violation = verdict.why and f"{where}, {verdict.why}"
        return Outcome(prompt.problem, record, generation, violation)

    def _text(self, prompt: Prompt, output: Sequence[int]) -> str:
        pair = self._plan.pair
        return pair.answer(output) if prompt.turn else pair.decode(prompt.ids, output)

    def cost(self) -> dict[str, Any]:
        """What decoding cost beside time, and what the reference's did."""
        return self._cost.per_token() | {"reference": self._reference_cost.per_token()}

    def fit(self) -> Fit | None:
        """How well the outputs fit the target's distribution, where they were sampled."""
        return self._distribution.fit() if self._plan.sampler.random else None

    def _decode_both(self, prompt: Prompt, swap: bool) -> tuple[Generation, Generation]:
        """Decode a prompt by both, one after the other; ``swap`` puts the decoder under test first.

        Alternating the order over prompts cancels what drifts, such as a clock that slows down.
        """
        runs = [(self._plan.decoder, self._cost), (self._reference, self._reference_cost)]
        with no_garbage_collection():
            made = [self._decode(prompt, *run) for run in (runs if swap else reversed(runs))]
        ours, theirs = made if swap else reversed(made)
        return ours, theirs

    def _decode(self, prompt: Prompt, decoder: Decoder, cost: Cost) -> Generation:
        before = self._meter.joules()
        made = decoder.decode(
            prompt.ids, self._plan.task.max_new_tokens, self._plan.stop_ids, prompt.seed
        )
        after = self._meter.joules()
        cost.add(len(prompt.ids), made, None if before is None or after is None else after - before)
        return made


@contextlib.contextmanager
def _started(plan: Plan) -> Iterator[Comparison]:
    """Load the models and start the decoders; free it all at the end."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(plan.setup.target())
        models = plan.setup.models(target)
        stack.callback(plan.decoder.stop)
        plan.decoder.start(models, plan.sampler)
        reference = Autoregressive()
        reference.start(models, plan.sampler)
        yield Comparison(plan, target, reference)
