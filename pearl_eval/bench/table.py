"""A contest as rows: a contender each, as printed and as drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from pearl_eval.bench.config import REFERENCE
from pearl_eval.bench.goals import Goal
from pearl_eval.bench.results import Ratio, Results
from pearl_eval.console import console

#: transformers' own decoding, and whichever of a family was fastest.
GENERATE = "generate"
SPECULATIVE, ASSISTED = "best speculative", "best assisted"


@dataclass(frozen=True)
class Row:
    """One contender's figures. ``ratios`` are its speed over others', by their name.

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


def rows(results: Results) -> list[Row]:
    """A row for each contender."""
    others = {
        REFERENCE: REFERENCE,
        SPECULATIVE: results.best("speculative".__eq__),
        GENERATE: GENERATE if GENERATE in results.contenders() else None,
        ASSISTED: results.best(lambda name: name.startswith("assisted")),
    }
    return [
        Row(
            contender,
            results.tokens_per_second(contender),
            {name: results.ratio(contender, other) for name, other in others.items() if other},
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


def print_rows(title: str, contest: Sequence[Row], results: Results) -> None:
    """The table of a contest, and the limits it was held against, on standard output."""
    out = console(stderr=False)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("contender", no_wrap=True)
    names = list(contest[0].ratios)
    headings = ["tokens\n/s", *(f"÷ {name}" for name in names), "limit\n1", "limit\n2", "α"]
    for heading in [*headings, "same\ntokens"]:
        table.add_column(heading, justify="right")
    for row in contest:
        table.add_row(
            row.contender,
            f"{row.tokens_per_second:.1f}",
            *(str(row.ratios[name]) for name in names),
            percent(row.draft_limit_share),
            percent(row.round_limit_share),
            "–" if row.acceptance_rate is None else f"{row.acceptance_rate:.3f}",
            row.verdict,
        )
    out.print(table)
    out.print(
        "Ratios are medians (quartiles) over paired measurements. Forwards alone, in the same run:"
        f" c = {results.speed_ratio():.2f}.\n"
        f"Limit 1: no token comes faster than one draft forward, so {results.draft_limit():.0f}"
        " tokens/s. Limit 2: no round of PEARL is shorter than max(γ · t_draft, t_target(window)).",
        soft_wrap=True,
    )


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
