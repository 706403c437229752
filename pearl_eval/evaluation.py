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
from decoders.decoder import Decoder, Generation, Models
from decoders.sampler import Sampler
from pearl_eval import environment
from pearl_eval.config import Names, Protocol, build, typed
from pearl_eval.devices import Devices
from pearl_eval.equivalence import EquivalenceChecker, Verdict
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.pair import Pair, PairSource
from pearl_eval.placement import Processes, placed
from pearl_eval.progress import run_progress
from pearl_eval.records import ROUNDS, Record
from pearl_eval.runfiles import RunFiles
from pearl_eval.summary import Tally, summarize
from pearl_eval.tracking import make_tracker
from tasks.task import Problem, Task


@dataclass(frozen=True)
class Prompt:
    """A problem and the token ids of its prompt."""

    problem: Problem
    ids: list[int]


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
    config = typed(cfg)
    decoder = build("decoder", config.decoder, Decoder)
    source = build("pair", config.pair, PairSource)
    task = build("task", config.task, Task)
    sampler = build("sampling", config.sampling, Sampler)
    devices = Devices.choose(config.runtime.target_device, config.runtime.draft_device)
    processes = Processes.choose(config.runtime, devices.all_cpu)
    pair = source.open(devices, decoder.uses_draft)
    prompts = _prompts(task, pair)
    pair.check_context(
        [p.problem.task_id for p in prompts], [len(p.ids) for p in prompts], task.max_new_tokens
    )
    files = RunFiles(directory)
    environment.reset_peak_memory()
    torch.manual_seed(config.seed)

    with contextlib.ExitStack() as stack:
        stack.callback(files.close)
        plain = OmegaConf.to_container(cfg, resolve=True)
        tracker = make_tracker(
            config.tracking, cast(dict[str, Any], plain), names, group, directory
        )
        stack.push(lambda kind, *_: tracker.close(failed=kind is not None))
        stack.enter_context(placed(processes.target))
        progress = stack.enter_context(run_progress(f"{names.decoder:<14}", len(prompts)))
        target = pair.load_target()
        models = Models(target, pair.load_draft, processes.draft)
        stack.callback(decoder.stop)
        decoder.start(models, sampler)
        reference = Autoregressive()
        reference.start(models, sampler)
        stack.callback(task.close)
        task.open()
        progress.started()

        checker = EquivalenceChecker(target, config.reference.tolerance_factor)
        stop_ids = () if config.protocol is Protocol.paper else pair.stop_ids
        records: list[Record] = []
        violations: list[str] = []
        tally = Tally()
        for step, prompt in enumerate(prompts):
            generation, paired = _decode_both(
                decoder, reference, prompt, task.max_new_tokens, stop_ids, swap=step % 2 == 1
            )
            verdict = checker.compare(
                prompt.ids, generation.output_ids, paired.output_ids, task.max_new_tokens, stop_ids
            )
            if verdict.kind == "violation":
                violations.append(_describe(prompt.problem, verdict))
            text = pair.decode(prompt.ids, generation.output_ids)
            record = Record.make(
                prompt.problem,
                len(prompt.ids),
                generation,
                paired,
                verdict,
                text,
                correct=task.score(prompt.problem, text),
                warmup=step == 0,
            )
            files.append(record, generation.rounds)
            tally.add(generation.rounds, generation.seconds, record.warmup)
            tracker.log_prompt(record, step)
            records.append(record)
            progress.advance(record)

        summary = summarize(
            records,
            tally,
            names,
            accuracy_name=task.accuracy_name,
            seed=config.seed,
            peak_memory_bytes=environment.peak_memory_bytes() + decoder.peak_memory_bytes(),
            environment=environment.describe(source.dtype, devices, processes),
        )
        files.write_summary(summary)
        files.close()
        tracker.finish(summary, pd.read_parquet(directory / ROUNDS))
    if violations:
        raise EquivalenceViolation(
            f"{len(violations)} of {len(prompts)} outputs are not the target's own;"
            f" the first: {violations[0]}; records are in {directory}"
        )
    return summary


def _prompts(task: Task, pair: Pair) -> list[Prompt]:
    try:
        problems = task.problems()
    except (OSError, ValueError) as error:
        raise UserError(f"the task's problems can't be loaded: {error}") from error
    return [Prompt(problem, pair.encode(problem.prompt)) for problem in problems]


def _decode_both(
    decoder: Decoder,
    reference: Decoder,
    prompt: Prompt,
    limit: int,
    stop_ids: Sequence[int],
    swap: bool,
) -> tuple[Generation, Generation]:
    """Decode a prompt by both, one after the other; ``swap`` puts the decoder under test first.

    Alternating the order over prompts cancels what drifts, such as a clock that slows down.
    """
    order = [decoder, reference] if swap else [reference, decoder]
    with _no_garbage_collection():
        made = {id(one): one.decode(prompt.ids, limit, stop_ids) for one in order}
    return made[id(decoder)], made[id(reference)]


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector from running inside what is being timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _describe(problem: Problem, verdict: Verdict) -> str:
    return f"{problem.task_id}, {verdict.why}"
