"""One run: every prompt decoded by the reference and by the decoder under test, and compared."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from pearl_eval.config.building import plain
from pearl_eval.config.schema import Names, ReferenceMode
from pearl_eval.errors import EquivalenceViolation
from pearl_eval.evaluation.comparison import Comparison, reference_of
from pearl_eval.evaluation.hardware import everything
from pearl_eval.evaluation.identity import reference_identity, reference_key, run_identity
from pearl_eval.evaluation.plan import Plan
from pearl_eval.evaluation.recorder import Recorder, wrong_outputs
from pearl_eval.evaluation.reference import ReferenceCache
from pearl_eval.evaluation.reservation import reserved
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.machine import environment
from pearl_eval.machine.placement import placed
from pearl_eval.results.records import RUN
from pearl_eval.shell.console import print_note
from pearl_eval.shell.progress import RunProgress, run_progress
from pearl_eval.tracking.tracker import TrackedRun, Tracker
from pearl_eval.tracking.tracking import make_tracker

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, names: Names, directory: Path, family: Path) -> dict[str, Any]:
    """Run one evaluation and leave its files in ``directory``; continue it, if it was begun there.

    Parameters
    ----------
    cfg
        The composed configuration.
    names
        What its decoder, pair and task are called.
    directory
        Output directory.
    family
        Folder of the sweep that it is one of, else its own. Runs of one family are a group in W&B,
        and share cached references.

    Returns
    -------
    The figures of ``summary.json``.

    Raises
    ------
    UserError
        Something in the configuration can't work, or the directory holds another run; raised
        before weights are loaded.
    WorkerError
        The draft process failed, died or did not answer.
    EquivalenceViolation
        Some output is not the target's own; raised after all files are written.
    """
    environment.reset_peak_memory()
    plan = Plan.make(cfg)
    config = plain(cfg)
    torch.manual_seed(plan.config.seed)
    # A run that was begun has its own say on what it may go on with.
    if not (directory / RUN).exists() and (cache := _reference_cache(plan, config, family)):
        cache.check()
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(RunFiles(directory, run_identity(config, plan)))
        if files.summary is not None:
            print_note(f"{directory}: this run is there already, and over")
            summary, lossless = files.summary, plan.decoder.lossless
            if why := wrong_outputs(files.records, summary, lossless, directory):
                raise EquivalenceViolation(why)
            return summary
        if files.settings is not None:
            print_note(f"{directory}: continued, {len(files.finished)} of {plan.turns} are done")
            if not files.same_code:
                print_note("an earlier version began it, whose code can't be compared with this")
            plan = plan.with_settings(files.settings)
        plan = stack.enter_context(reserved(plan))
        tags = ["synthetic"] if plan.pair.synthetic else []
        group = f"{family.parent.name}-{family.name}"
        tracked = TrackedRun(names, config, tags, group, directory)
        tracking = stack.enter_context(_tracking(plan, tracked))
        stack.enter_context(placed(plan.setup.processes.target))
        bar = stack.enter_context(run_progress(f"{names.decoder:<14}", plan.turns))
        cache = _reference_cache(plan, config, family)
        comparison = stack.enter_context(_started(plan, cache, bar))
        tracker = tracking.result()
        where = plan.setup.describe()
        log.info("target on %s: %s", where["target_device"], where["target_process"])
        log.info("draft on %s: %s", where["draft_device"], where["draft_process"])

        recorder = Recorder(plan, names, files, comparison)
        for step, outcome in enumerate(comparison.outcomes(files.finished)):
            recorder.add(outcome)
            if outcome.new:
                tracker.log_prompt(outcome.record, step)
                log.info("%s", outcome.record.line())
            bar.advance(outcome.record)

        memory = recorder.peak_memory_bytes()
        comparison.session.stop()
        recorder.finish(memory, bar.tell)
        summary, rounds = recorder.summary, recorder.traces.rounds
        tracker.finish(summary, recorder.records, rounds, files.paths)
        files.end()
        if why := recorder.wrong_outputs():
            raise EquivalenceViolation(why)
    return summary


@contextlib.contextmanager
def _tracking(plan: Plan, run: TrackedRun) -> Iterator[Future[Tracker]]:
    """The tracker of a run, which starts while the models load."""
    with ThreadPoolExecutor(1, "tracking") as pool:
        tracking = pool.submit(make_tracker, plan.config.tracking, run)
        failed = True
        try:
            yield tracking
            failed = False
        finally:
            tracking.result().close(failed)


@contextlib.contextmanager
def _started(plan: Plan, cache: ReferenceCache | None, bar: RunProgress) -> Iterator[Comparison]:
    """Load the models and start the decoders; free it all at the end."""
    with contextlib.ExitStack() as stack:
        models = plan.setup.models(plan.setup.load_target())
        hardware = plan.config.reference.hardware
        there = everything(plan.setup, plan.decoder, plan.sampler, models, hardware)
        if there is not None:
            stack.callback(there.stop)
        reference = reference_of(plan, models)
        comparison = Comparison(plan, models, reference, cache, everything=there)
        stack.callback(comparison.stop_reference)
        if cache is not None:
            cache.complete(plan, comparison.measure_reference, bar.tell)
            # An engine that runs no more leaves its memory to the next.
            comparison.stop_reference()
        comparison.start()
        stack.callback(comparison.session.stop)
        bar.tell("warm-up prompt")
        yield comparison


def _reference_cache(plan: Plan, config: Mapping[str, Any], family: Path) -> ReferenceCache | None:
    asked = plan.config.reference
    if asked.mode is ReferenceMode.inline:
        if asked.folder:
            print_note(
                f"reference.folder={asked.folder} is not used: reference=inline has no files"
            )
        return None
    identity = reference_identity(config, plan)
    folder = Path(asked.folder) if asked.folder else None
    if folder is None:
        # By what was asked for. What it ran on is not part of the name, so that it is checked.
        folder = family / "reference" / reference_key(config, plan.setup.source, plan.decoder)
    return ReferenceCache(folder, identity, asked.wait_timeout)
