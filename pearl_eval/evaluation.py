"""One run: every prompt decoded by the reference and by the decoder under test, and compared."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder, Generation
from decoders.model import CachedModel
from decoders.sampler import OwnChoice
from pearl_eval import environment
from pearl_eval.config import Names
from pearl_eval.distribution import DistributionCheck, Fit
from pearl_eval.equivalence import EquivalenceChecker, unchecked_verdict
from pearl_eval.errors import EquivalenceViolation
from pearl_eval.placement import placed
from pearl_eval.plan import Plan, Prompt
from pearl_eval.progress import run_progress
from pearl_eval.records import ROUNDS, Record
from pearl_eval.runfiles import RunFiles
from pearl_eval.summary import Tally, summarize
from pearl_eval.tracking import TrackedRun, make_tracker


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
    files = RunFiles(directory)
    torch.manual_seed(plan.config.seed)
    with contextlib.ExitStack() as stack:
        stack.callback(files.close)
        plain = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
        tags = ["synthetic"] if plan.pair.synthetic else []
        tracker = make_tracker(
            plan.config.tracking, TrackedRun(names, plain, tags, group, directory)
        )
        stack.push(lambda kind, *_: tracker.close(failed=kind is not None))
        stack.enter_context(placed(plan.setup.processes.target))
        bar = stack.enter_context(run_progress(f"{names.decoder:<14}", len(plan.prompts)))
        comparison = stack.enter_context(_started(plan))
        bar.started()

        records: list[Record] = []
        violations: list[str] = []
        tally = Tally()
        for step, prompt in enumerate(plan.prompts):
            outcome = comparison.run(prompt, step)
            files.append(outcome.record, outcome.generation.rounds)
            if not plan.pair.synthetic:
                files.append_lines(plan.task.lines(prompt.problem, outcome.record.text))
            tally.add(outcome.generation, outcome.record.warmup)
            tracker.log_prompt(outcome.record, step)
            records.append(outcome.record)
            if step == 0:
                plan.decoder.after_warmup(outcome.generation.rounds)
            if outcome.violation:
                violations.append(outcome.violation)
            bar.advance(outcome.record)

        fit = comparison.fit()
        summary = summarize(
            records,
            tally,
            names,
            settings=plan.decoder.settings(),
            synthetic=plan.pair.synthetic,
            accuracy_name=plan.task.accuracy_name,
            fit=fit,
            facts=plan.task.describe() | _figures(plan, records),
            seed=plan.config.seed,
            peak_memory_bytes=environment.peak_memory_bytes() + plan.decoder.peak_memory_bytes(),
            environment=plan.setup.describe(),
        )
        files.write_summary(summary)
        files.close()
        tracker.finish(summary, pd.read_parquet(directory / ROUNDS))
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

    record: Record
    generation: Generation
    violation: str


class Comparison:
    """Decodes prompts by the reference and by the decoder under test, and compares the two."""

    def __init__(self, plan: Plan, target: CachedModel, reference: Decoder) -> None:
        self._plan = plan
        self._reference = reference
        self._checker = EquivalenceChecker(target, plan.config.reference.tolerance_factor)
        self._distribution = DistributionCheck(target, plan.sampler.probabilities)

    def run(self, prompt: Prompt, step: int) -> Outcome:
        """Decode and compare one prompt; ``step`` counts the prompts of the run from 0."""
        plan = self._plan
        limit, stop_ids = plan.task.max_new_tokens, plan.stop_ids
        generation, reference = self._decode_both(prompt, swap=step % 2 == 1)
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
            text = plan.pair.decode(prompt.ids, output)
            score = reference_score = plan.task.score(prompt.problem, text)
            if output != expected:
                theirs = plan.pair.decode(prompt.ids, expected)
                reference_score = plan.task.score(prompt.problem, theirs)
        record = Record.make(
            prompt,
            generation,
            reference,
            verdict,
            text,
            score=score,
            reference_score=reference_score,
            warmup=step == 0,
            synthetic=plan.pair.synthetic,
        )
        return Outcome(record, generation, verdict.why and f"{record.task_id}, {verdict.why}")

    def fit(self) -> Fit | None:
        """How well the outputs fit the target's distribution, where they were sampled."""
        return self._distribution.fit() if self._plan.sampler.random else None

    def _decode_both(self, prompt: Prompt, swap: bool) -> tuple[Generation, Generation]:
        """Decode a prompt by both, one after the other; ``swap`` puts the decoder under test first.

        Alternating the order over prompts cancels what drifts, such as a clock that slows down.
        """
        decoder, reference = self._plan.decoder, self._reference
        limit, stop_ids = self._plan.task.max_new_tokens, self._plan.stop_ids
        order = (decoder, reference) if swap else (reference, decoder)
        with _no_garbage_collection():
            first, second = (one.decode(prompt.ids, limit, stop_ids, prompt.seed) for one in order)
        return (first, second) if swap else (second, first)


@contextlib.contextmanager
def _started(plan: Plan) -> Iterator[Comparison]:
    """Load the models and start the decoders; free it all at the end."""
    with contextlib.ExitStack() as stack:
        target = plan.setup.load_target()
        models = plan.setup.models(target)
        stack.callback(plan.decoder.stop)
        plan.decoder.start(models, plan.sampler)
        reference = Autoregressive()
        reference.start(models, plan.sampler)
        yield Comparison(plan, target, reference)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from running inside what is being timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
