"""A contest as rows: a contender each, as printed and as drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from pearl_eval.bench.config import REFERENCE
from pearl_eval.bench.goals import Goal
from pearl_eval.bench.results import Ratio, Results
from pearl_eval.shell.console import console

#: transformers' own decoding, and whichever of a family was fastest.
GENERATE = "generate"
SPECULATIVE, ASSISTED = "best speculative", "best assisted"
#: Most names of problems that are printed.
_NAMED = 40


@dataclass(frozen=True)
class Row:
    """One contender's figures, on all prompts. ``ratios`` are its speed over others', by name.

    ``draft_limit_share`` is its share of limit 1, ``round_limit_share`` and ``inside_share`` those
    of limit 2 by forwards as timed alone and as timed inside its rounds; ``crossing`` is in
    seconds. A figure that does not exist for a contender is None.
    """

    contender: str
    tokens_per_second: float
    ratios: dict[str, Ratio]
    draft_limit_share: float
    round_limit_share: float | None
    inside_share: float | None
    acceptance_rate: float | None
    tokens_per_forward: float
    crossing: float | None
    bytes_per_round: float | None
    verdict: str


@dataclass(frozen=True)
class Best:
    """A decoder at the draft length that was best on one half of the prompts (``contender``).

    ``ratios`` are those of the other half, over others that were chosen likewise.
    """

    decoder: str
    contender: str
    ratios: dict[str, Ratio]


def rows(results: Results) -> list[Row]:
    """A row for each contender."""
    others = [name for name in (REFERENCE, GENERATE) if name in results.contenders()]
    return [
        Row(
            contender,
            results.tokens_per_second(contender),
            {other: results.ratio(contender, other) for other in others},
            results.share_of_draft_limit(contender),
            results.share_of_round_limit(contender),
            results.share_of_round_limit(contender, inside=True),
            results.acceptance_rate(contender),
            results.tokens_per_forward(contender),
            results.crossing(contender),
            results.bytes_per_round(contender),
            results.verdict(contender),
        )
        for contender in results.contenders()
    ]


def bests(results: Results) -> list[Best]:
    """Every decoder at its best draft length, but for the reference."""
    others = {
        REFERENCE: REFERENCE,
        SPECULATIVE: results.best("speculative".__eq__),
        GENERATE: results.best(GENERATE.__eq__),
        ASSISTED: results.best(lambda name: name.startswith("assisted")),
    }
    held_out = results.half(chooses=False)
    found = []
    for name in dict.fromkeys(label.split()[0] for label in results.contenders()):
        chosen = results.best(name.__eq__)
        if chosen and name != REFERENCE:
            ratios = {
                other: held_out.ratio(chosen, label) for other, label in others.items() if label
            }
            found.append(Best(name, chosen, ratios))
    return found


def print_problems(drawn: Sequence[str], of: int, seed: int) -> None:
    """Which problems of a task are decoded."""
    named = ", ".join(drawn[:_NAMED]) + (", …" if len(drawn) > _NAMED else "")
    console(stderr=False).print(
        f"{len(drawn)} of the task's {of} problems, drawn by seed {seed}: {named}", soft_wrap=True
    )


def print_rows(title: str, contest: Sequence[Row], results: Results) -> None:
    """The table of a contest, and the limits it was held against, on standard output."""
    out = console(stderr=False)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("contender", no_wrap=True)
    names = list(contest[0].ratios)
    headings = ["tokens\n/s", *(f"÷ {name}" for name in names), "÷ autoregressive\nby prompt"]
    for heading in [*headings, "limit\n1", "limit\n2", "α", "same\ntokens"]:
        table.add_column(heading, justify="right")
    for row in contest:
        table.add_row(
            row.contender,
            f"{row.tokens_per_second:.1f}",
            *(str(row.ratios[name]) for name in names),
            row.ratios[REFERENCE].by_prompt,
            percent(row.draft_limit_share),
            percent(row.round_limit_share),
            "–" if row.acceptance_rate is None else f"{row.acceptance_rate:.3f}",
            row.verdict,
        )
    out.print(table)
    out.print(
        "Ratios are of total tokens per second over all prompts and repeats (95 % interval over"
        " prompts); by prompt: the least, the quartiles and the most of the prompts' own. Forwards"
        f" alone, in the same run: c = {results.speed_ratio():.2f}.\n"
        f"Limit 1: no token comes faster than one draft forward, so {results.draft_limit():.0f}"
        " tokens/s. Limit 2: no round of PEARL is shorter than max(γ · t_draft, t_target(window)).",
        soft_wrap=True,
    )


def print_bests(found: Sequence[Best]) -> None:
    """Decoders at their best draft lengths, side by side."""
    title = "At the best γ: chosen on one half of the prompts, compared on the other"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("contender", no_wrap=True)
    for name in found[0].ratios if found else ():
        table.add_column(f"÷ {name}", justify="right")
    for one in found:
        table.add_row(one.contender, *(str(ratio) for ratio in one.ratios.values()))
    console(stderr=False).print(table)


def print_goals(goals: Sequence[Goal]) -> None:
    """Goals beside what was measured."""
    table = Table(title="Goals", title_justify="left", title_style="bold")
    table.add_column("goal", overflow="fold")
    for heading in ("wanted", "measured", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("of what", overflow="fold")
    marks = {True: "[green]met[/]", False: "[yellow]missed[/]", None: ""}
    for goal in goals:
        table.add_row(goal.name, goal.wanted, goal.measured, marks[goal.met], goal.note)
    console(stderr=False).print(table)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"
