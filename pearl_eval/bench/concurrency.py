"""Several requests at once: tokens a second, and how long a request takes."""

from __future__ import annotations

import contextlib
import copy
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from decoders.generation import Generation
from decoders.process.clock import clock
from pearl_eval.bench.config import ConcurrencyConfig
from pearl_eval.bench.contest import Contender, contenders, held, started
from pearl_eval.bench.table import print_table
from pearl_eval.config.schema import Names
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.evaluation.judge import Judge
from pearl_eval.evaluation.plan import Parts, Plan
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.labels import labels, of_overrides
from pearl_eval.shell.progress import steps
from tasks.task import Problem


def plan(
    config: ConcurrencyConfig,
    cfg: DictConfig,
    names: Names,
    setup: Setup,
    problems: Sequence[Problem],
    folder: Path,
) -> list[Contender]:
    """The contenders. Raises :class:`UserError` for whatever can't work."""
    if not config.requests or min(config.requests) < 1:
        raise UserError(
            f"concurrency.requests are numbers of at least 1, got {list(config.requests)}"
        )
    own = copy.deepcopy(cfg)
    with open_dict(own):
        own.pair = config.pair
        own.task.max_new_tokens = config.max_new_tokens
        own.engine.max_num_seqs = max(config.requests)

    def first(parts: Parts) -> Plan:
        return Plan.of(parts, setup, problems[: config.prompts], 1)

    found = contenders(config, own, names, folder, first)
    for one in found:
        if not one.plan.decoder.takes_several:
            raise UserError(
                f"concurrency.decoders: {one.names.decoder} decodes one text at a time; name"
                " decoders that run in vLLM"
            )
    return found


def measure(
    entrants: Sequence[Contender], config: ConcurrencyConfig, seed: int
) -> list[dict[str, Any]]:
    """For each contender and number of requests: tokens a second and seconds of a request, over
    the repeats; and how many outputs are the first contender's, one request at a time.

    Raises :class:`EquivalenceViolation` where one is not the target's own.
    """
    known = labels([of_overrides(one.overrides, one.names.decoder) for one in entrants])
    chance = random.Random(seed)
    with contextlib.ExitStack() as stack:
        whole = replace(entrants[0].plan, setup=stack.enter_context(held(entrants)))
        stack.enter_context(placed(whole.setup.processes.target))
        models = whole.setup.models(whole.setup.load_target())
        judge = Judge(whole, models.target)
        sessions = dict(zip(known, stack.enter_context(started(entrants, models)), strict=True))
        prompts = [(one.ids, one.seed) for one in whole.prompts]
        limits = whole.task.max_new_tokens, whole.stop_ids
        expected = [
            ids for ids, _ in sessions[known[0]].decode_at_once(prompts, *limits, at_once=1)
        ]
        for label in known[1:]:  # warm up
            sessions[label].decode_at_once(prompts[:2], *limits, at_once=1)
        turns = [(label, count) for label in known for count in config.requests]
        measured: dict[tuple[str, int], list[tuple[float, float]]] = {turn: [] for turn in turns}
        verdicts: dict[tuple[str, int], list[str]] = {turn: [] for turn in turns}
        every = [turn for _ in range(config.repeats) for turn in chance.sample(turns, len(turns))]
        for label, count in steps(every, "several at once"):
            start = clock()
            made = sessions[label].decode_at_once(prompts, *limits, at_once=count)
            seconds = clock() - start
            rate = sum(len(ids) for ids, _ in made) / seconds
            latency = statistics.median(each for _, each in made)
            measured[label, count].append((rate, latency))
            for prompt, (ids, each), theirs in zip(whole.prompts, made, expected, strict=True):
                answer = Generation(ids, "length", each, [], [])
                verdict = judge.verdict(prompt, answer, theirs, lossless=True)
                verdicts[label, count].append(verdict.kind)
                if verdict.kind == "violation":
                    raise EquivalenceViolation(
                        f"{label}, {count} requests at once, {prompt.problem.task_id}:"
                        f" {verdict.why}"
                    )
    return [_point(*turn, measured[turn], verdicts[turn]) for turn in turns]


def _point(
    label: str, count: int, measured: Sequence[tuple[float, float]], verdicts: Sequence[str]
) -> dict[str, Any]:
    rates = [rate for rate, _ in measured]
    return {
        "contender": label,
        "requests": count,
        "tokens_per_second": statistics.median(rates),
        "least": min(rates),
        "most": max(rates),
        "latency": statistics.median(latency for _, latency in measured),
        "identical": verdicts.count("identical"),
        "ties": verdicts.count("tie"),
        "outputs": len(verdicts),
    }


def print_points(found: Sequence[Mapping[str, Any]]) -> None:
    """The table, on standard output."""
    counts = sorted({one["requests"] for one in found})
    by_label: dict[str, dict[int, Mapping[str, Any]]] = {}
    for one in found:
        by_label.setdefault(one["contender"], {})[one["requests"]] = one
    print_table(
        "Requests at once: tokens/s, median (least–most); seconds of a request, median",
        ["contender", *map(str, counts), "identical"],
        (
            [label, *(_cell(own[count]) for count in counts), _identical(own.values())]
            for label, own in by_label.items()
        ),
    )


def _cell(point: Mapping[str, Any]) -> str:
    rates = f"{point['tokens_per_second']:.0f} ({point['least']:.0f}–{point['most']:.0f})"
    return f"{rates}; {point['latency']:.2f}"


def _identical(points: Iterable[Mapping[str, Any]]) -> str:
    own = list(points)
    sums = {name: sum(one[name] for one in own) for name in ("identical", "ties", "outputs")}
    ties = f", {sums['ties']} ties" if sums["ties"] else ""
    return f"{sums['identical']}/{sums['outputs']}{ties}"
