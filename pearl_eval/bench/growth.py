"""How the time of a token grows with the text before it."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from decoders.accepted_runs import acceptance_rate
from decoders.draft_length import time_forwards
from pearl_eval.bench.config import GrowthConfig
from pearl_eval.bench.contest import Contender, contenders
from pearl_eval.bench.results import Results
from pearl_eval.bench.table import print_table
from pearl_eval.config.schema import Names, Protocol, RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.evaluation.plan import Parts, Plan, Prompt
from pearl_eval.evaluation.reservation import reserved
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.traces import KEY
from tasks.task import Problem, Task

#: Fewest tokens that are timed.
_FEWEST = 32
#: How often the kinds of forwards take turns.
_TURNS = 3
#: Tokens of the window that is timed beside a single token.
WINDOW = 8


@dataclass
class Texts(Task):
    """Texts to be continued, of which no continuation is right by itself."""

    def load(self) -> Sequence[Problem]:
        return ()


def plan(
    growth: GrowthConfig,
    cfg: DictConfig,
    names: Names,
    runtime: RuntimeConfig,
    problems: Sequence[Problem],
    folder: Path,
) -> list[Contender]:
    """The runs. The texts are the problems' prompts, one after the other, cut to each length.

    Raises :class:`UserError` for whatever can't work. ``cfg`` is the configuration of a run but for
    its pair and decoder.
    """
    # A first round, which is not timed, gives a whole draft and a token at most.
    least = max(_FEWEST, max(growth.gammas, default=0) + 2)
    if not growth.contexts or min(growth.contexts) < 1 or growth.new_tokens < least:
        raise UserError(
            f"growth.contexts are numbers of tokens, growth.new_tokens at least {least}, got"
            f" contexts={growth.contexts} new_tokens={growth.new_tokens}"
        )
    own = copy.deepcopy(cfg)
    own.pair = growth.pair
    own.task.max_new_tokens = growth.new_tokens
    own.protocol = Protocol.paper  # as many tokens after each context
    setup = Setup.make(own.pair, runtime, uses_draft=True)
    needed, room = max(growth.contexts) + growth.new_tokens, min(setup.pair.contexts.values())
    if needed > room:
        raise UserError(
            f"growth.contexts: {needed} tokens do not fit the models' context of {room}"
        )
    source = list(chain.from_iterable(setup.pair.prompt(problem) for problem in problems))
    texts = {n: list(islice(cycle(source), n)) for n in growth.contexts}
    prompts = [
        Prompt(Problem(f"after {n} tokens"), text, cfg.seed, sample)
        for n, text in texts.items()
        for sample in range(growth.repeats)
    ]
    task = Texts(max_new_tokens=growth.new_tokens)

    def first(parts: Parts) -> Plan:
        made = Plan(parts.config, parts.decoder, parts.sampler, setup, task, prompts)
        return made.beside(parts)

    return contenders(growth, own, Names("", names.pair, "growth"), folder, first)


@dataclass(frozen=True)
class WindowTimes:
    """Seconds of the target's forwards over 1 and ``window`` tokens after ``context``: medians."""

    context: int
    window: int
    one: float
    several: float


def time_windows(
    entrants: Sequence[Contender], contexts: Sequence[int], repeats: int
) -> list[WindowTimes]:
    """Time the target alone, where the runs had it: what a window costs beside a single token.

    The two kinds take turns, so what slows the machine down for a while slows both.
    """
    found = []
    with reserved(entrants[0].plan) as plan, placed(plan.setup.processes.target):
        target = plan.setup.load_target()
        for context in contexts:
            times: dict[int, list[float]] = {1: [], WINDOW: []}
            for size, seconds in (turn for _ in range(_TURNS) for turn in times.items()):
                seconds += time_forwards(target, size, context, repeats)
            one, several = (statistics.median(times[size]) for size in (1, WINDOW))
            found.append(WindowTimes(context, WINDOW, one, several))
    return found


def print_windows(found: Sequence[WindowTimes]) -> None:
    """The table, on standard output."""
    print_table(
        "Growth: milliseconds of the target's forwards alone, by tokens of context",
        ["forward over", *(str(one.context) for one in found)],
        [
            ["1 token", *(f"{1e3 * one.one:.2f}" for one in found)],
            [f"{WINDOW} tokens", *(f"{1e3 * one.several:.2f}" for one in found)],
            ["ratio", *(f"{one.several / one.one:.2f}" for one in found)],
        ],
    )


def points(results: Results) -> list[dict[str, Any]]:
    """For each contender and context: seconds a token over its repeats, without the first round,
    which reads the context; α; and how many outputs are the reference's, of how many."""
    found = []
    for label, entry in results.entries.items():
        timed = entry.rounds[entry.rounds["round"] > 0].groupby(KEY)["wall"].sum()
        given = entry.rounds[entry.rounds["round"] == 0].set_index(KEY)["verified_length"]
        for context in dict.fromkeys(one.prompt_tokens for one in entry.records):
            own = [one for one in entry.records if one.prompt_tokens == context]
            times = [timed[one.key] / (one.new_tokens - given[one.key]) for one in own]
            found.append(
                {
                    "contender": label,
                    "decoder": entry.decoder,
                    "context": context,
                    "median": float(statistics.median(times)),
                    "least": float(min(times)),
                    "most": float(max(times)),
                    "acceptance_rate": acceptance_rate(own),
                    "identical": sum(one.exact_match for one in own),
                    "outputs": len(own),
                }
            )
    return found


def print_points(found: Sequence[Mapping[str, Any]]) -> None:
    """The table, on standard output."""
    contexts = sorted({one["context"] for one in found})
    by_label: dict[str, dict[int, Mapping[str, Any]]] = {}
    for one in found:
        by_label.setdefault(one["contender"], {})[one["context"]] = one
    print_table(
        "Growth: milliseconds a token (α), by tokens of context",
        ["contender", *map(str, contexts), "identical"],
        (
            [
                label,
                *(_milliseconds(own[context]) for context in contexts),
                f"{sum(one['identical'] for one in own.values())}"
                f"/{sum(one['outputs'] for one in own.values())}",
            ]
            for label, own in by_label.items()
        ),
    )


def _milliseconds(point: Mapping[str, Any]) -> str:
    rate = "" if point["acceptance_rate"] is None else f" ({point['acceptance_rate']:.2f})"
    return f"{1e3 * point['median']:.2f}{rate}"
