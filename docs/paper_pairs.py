"""The paper's pairs on A100s, predicted, beside what its authors report.

Nothing here is measured by us. Forward times follow from the models' shapes and the card's memory
bandwidth (a roofline), and from the waiting that the authors measured. Run as a program, it prints
the tables of docs/simulation.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.frames.table import Cell, Table
from analysis.paper.pairs import PAIRS, RATES, PaperPair
from analysis.paper.reported import CONDITIONS, MARK, Reported, figures
from pearl_eval.errors import UserError
from pearl_eval.simulation import Alone


def times_table() -> Table:
    """Forward times of each pair, and the draft length of the authors' scripts."""
    cells: list[Cell] = []
    for pair in PAIRS.values():
        times = pair.forwards()
        row = (pair.name,)
        cells += [
            Cell("", row, "t_draft", 1e3 * times.draft(1, 0), form=".1f", unit=" ms"),
            Cell("", row, "t_target", 1e3 * times.target(1, 0), form=".1f", unit=" ms"),
            Cell("", row, "c", times.speed_ratio, form=".1f"),
            Cell("", row, "γ of PEARL's scripts", pair.pearl_gamma, form="d"),
        ]
    return Table("times", "Forward times on A100s, predicted", ("pair",), cells)


def speedups_table() -> Table:
    """Speedups of each pair at three acceptance rates, for texts of 1024 tokens."""
    cells = [
        Cell("", (pair.name, name), f"α = {rate}", pair.speedup(schedule, rate, 1024), unit="×")
        for pair in PAIRS.values()
        for name, schedule in ({"pearl": pair.pearl} | pair.compared).items()
        for rate in RATES
    ]
    return Table("speedups", "Speedups on A100s, predicted", ("pair", "decoder"), cells)


def reported_table() -> Table:
    """Reported speedups and the acceptance rate that each implies."""
    cells: list[Cell] = []
    cited = figures("speedup", decoder="pearl")
    for one in cited:
        pair, max_new_tokens = _of(one)
        row = (pair.name, one.task)
        rate = pair.implied_rate(one.value, max_new_tokens)
        cells += [
            Cell("", row, "pearl, reported", one.value, unit=one.unit, source=one.source),
            Cell("", row, "α it implies, predicted", rate),
        ]
        cells += [
            Cell("", row, f"{name} at that α, predicted", speedup, unit="×")
            for name, schedule in pair.compared.items()
            for speedup in [None if rate is None else pair.speedup(schedule, rate, max_new_tokens)]
        ]
    title = "What the reported speedups imply"
    return Table("implied", title, ("pair", "task"), cells, notes=_notes(cited))


def shared_table() -> Table:
    """Resource competition, reported and predicted."""
    cells: list[Cell] = []
    apart = figures("tokens_per_second", decoder="pearl")
    for one in apart:
        (shared,) = figures(one.figure, decoder="pearl_shared", pair=one.pair, task=one.task)
        pair, max_new_tokens = _of(one)
        row = (pair.name, one.task)
        reference = pair.tokens_per_second(Alone(), 0.0, max_new_tokens)
        rate = pair.implied_rate(one.value / reference, max_new_tokens)
        ratio = None
        if rate is not None:
            both_ends = replace(pair.pearl, ends=2)
            ratio = pair.speedup(both_ends, rate, max_new_tokens) / pair.speedup(
                pair.pearl, rate, max_new_tokens
            )
        cells += [
            Cell("", row, "pearl, tokens/s, reported", one.value, source=one.source),
            Cell("", row, "pearl_shared, tokens/s, reported", shared.value, source=one.source),
            Cell("", row, "autoregressive, tokens/s, predicted", reference, form=".1f"),
            Cell("", row, "α implied, predicted", rate),
            Cell("", row, "shared ÷ apart, reported", shared.value / one.value, form=".3f"),
            Cell("", row, "shared ÷ apart, predicted", ratio, form=".3f"),
        ]
    title = "Resource competition, reported and predicted"
    return Table("sharing", title, ("pair", "task"), cells, notes=_notes(apart))


def _of(one: Reported) -> tuple[PaperPair, int]:
    """The pair of a figure, and the tokens of a text."""
    assert one.max_new_tokens is not None
    return PAIRS[one.pair], one.max_new_tokens


def _notes(cited: Sequence[Reported]) -> list[str]:
    sources = "; ".join(dict.fromkeys(one.source for one in cited))
    return [f"Reported: {MARK.removeprefix('reported ')}, {CONDITIONS}. From {sources}."]


def main() -> None:
    """Print the tables, on A100s or on the card of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--forwards",
        type=Path,
        metavar="FILE",
        help="predict for the card of a forwards_*.json that make gpu-check left",
    )
    forwards = parser.parse_args().forwards
    if forwards is None:
        tables = (times_table(), speedups_table(), reported_table(), shared_table())
        print("\n\n".join(table.markdown() for table in tables))
        return
    from measured_card import print_predicted

    try:
        print_predicted(forwards)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
