"""What grows with a text: the time of a token with the context, memory with tokens generated."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, cycle, islice
from typing import Any

from rich.table import Table

from decoders.generation import Generation
from decoders.process.clock import no_garbage_collection
from decoders.round import Round
from pearl_eval.bench.config import GrowthConfig
from pearl_eval.bench.contest import AGAIN, Contender, contenders, judged, started
from pearl_eval.bench.watch import Whole
from pearl_eval.checks.equivalence import EquivalenceChecker, Verdict
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.evaluation.reservation import reserve
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.setup import Setup
from pearl_eval.shell.console import console
from pearl_eval.shell.progress import steps
from tasks.task import Problem


@dataclass(frozen=True)
class Point:
    """A contender after so many tokens of context: seconds a token, over its repeats.

    ``acceptance_rate`` is None where nothing was judged. ``verdicts`` are its outputs' against the
    reference's, ``why`` says what a violation is.
    """

    contender: str
    context: int
    median: float
    least: float
    most: float
    acceptance_rate: float | None
    verdicts: list[str]
    why: str = ""


@dataclass(frozen=True)
class Growth:
    """Times by context, and the run whose memory was watched."""

    points: list[Point]
    whole: Whole

    def violations(self) -> list[str]:
        return [f"{p.contender} after {p.context} tokens, {p.why}" for p in self.points if p.why]

    def content(self) -> dict[str, Any]:
        return {
            "points": [asdict(point) for point in self.points],
            "memory": self.whole.memory,
        }


def seconds_per_token(generation: Generation) -> float:
    """Seconds a token after the first round, which reads the context."""
    first, second = generation.rounds[:2]
    tokens = len(generation.output_ids) - first.verified_length
    return (generation.seconds - second.start) / tokens


def plan(growth: GrowthConfig, runtime: RuntimeConfig) -> Setup:
    """The pair. Raises :class:`UserError` for whatever can't work."""
    entrants(growth)
    if not growth.contexts or min(growth.contexts) < 1 or growth.new_tokens < 32:
        raise UserError(
            "growth.contexts are numbers of tokens, growth.new_tokens at least 32, got"
            f" contexts={growth.contexts} new_tokens={growth.new_tokens}"
        )
    if growth.repeats < 1 or growth.prompts < 2:
        raise UserError(
            "growth.repeats must be at least 1, growth.prompts must be at least 2, got"
            f" repeats={growth.repeats} prompts={growth.prompts}"
        )
    setup = Setup.make(growth.pair, runtime, uses_draft=True)
    needed, room = max(growth.contexts) + growth.new_tokens, min(setup.pair.contexts.values())
    if needed > room:
        raise UserError(
            f"growth.contexts: {needed} tokens do not fit the models' context of {room}"
        )
    return setup


def entrants(growth: GrowthConfig) -> list[Contender]:
    """The contenders; the reference needs no second time here."""
    return [one for one in contenders(growth.decoders, growth.gammas) if one.label != AGAIN]


def measure(growth: GrowthConfig, setup: Setup, problems: Sequence[Problem]) -> list[Point]:
    """Let every contender generate some tokens after texts of each length.

    The texts are the task's prompts, one after the other.
    """
    source = list(chain.from_iterable(setup.pair.prompt(problem) for problem in problems))
    turns = [(context, repeat) for context in growth.contexts for repeat in range(growth.repeats)]
    seconds: dict[tuple[str, int], list[float]] = {}
    rounds: dict[tuple[str, int], list[Round]] = {}
    verdicts: dict[tuple[str, int], list[Verdict]] = {}
    with reserve(setup) as setup, placed(setup.processes.target), setup.target() as target:
        models = setup.models(target)
        checker = EquivalenceChecker(models.target)
        competing = entrants(growth)
        with started(competing, models, 1):
            for one in competing:
                one.decode(source[: min(growth.contexts)], growth.new_tokens)
            for context, repeat in steps(turns, "growth with the context"):
                text = list(islice(cycle(source), context))
                shift = repeat % len(competing)
                order = competing[shift:] + competing[:shift]
                with no_garbage_collection():
                    done = {one.label: one.decode(text, growth.new_tokens)[0] for one in order}
                found = judged(checker, competing, text, growth.new_tokens, done)
                for label, generation in done.items():
                    key = label, context
                    seconds.setdefault(key, []).append(seconds_per_token(generation))
                    rounds.setdefault(key, []).extend(generation.rounds)
                    verdicts.setdefault(key, []).append(found[label])
    return [
        Point(
            label,
            context,
            statistics.median(seconds[label, context]),
            min(seconds[label, context]),
            max(seconds[label, context]),
            _acceptance_rate(rounds[label, context]),
            [verdict.kind for verdict in verdicts[label, context]],
            next((v.why for v in verdicts[label, context] if v.kind == "violation"), ""),
        )
        for label in (one.label for one in competing)
        for context in growth.contexts
    ]


def _acceptance_rate(rounds: Sequence[Round]) -> float | None:
    judged = sum(one.judged for one in rounds)
    return sum(one.accepted for one in rounds) / judged if judged else None


def print_growth(growth: Growth) -> None:
    """Tables of both, on standard output."""
    out = console(stderr=False)
    contexts = sorted({point.context for point in growth.points})
    by_key = {(point.contender, point.context): point for point in growth.points}
    title = "Growth: milliseconds a token (α), by tokens of context"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("contender", no_wrap=True)
    for context in contexts:
        table.add_column(str(context), justify="right")
    table.add_column("same tokens", justify="right")
    for contender in dict.fromkeys(point.contender for point in growth.points):
        own = [by_key[contender, context] for context in contexts]
        times = [_milliseconds(point) for point in own]
        kinds = [kind for point in own for kind in point.verdicts]
        table.add_row(contender, *times, f"{kinds.count('identical')}/{len(kinds)}")
    out.print(table)
    (_, before), (tokens, after) = growth.whole.memory[0], growth.whole.memory[-1]
    out.print(
        f"Memory of a pearl-eval run, both processes: {before / 2**20:.1f} MiB after the first"
        f" prompt, {after / 2**20:.1f} MiB after {tokens} tokens; over its second half"
        f" {growth.whole.bytes_per_token:.0f} bytes a token.",
        soft_wrap=True,
    )


def _milliseconds(point: Point) -> str:
    rate = "" if point.acceptance_rate is None else f" ({point.acceptance_rate:.2f})"
    return f"{1e3 * point.median:.2f}{rate}"
