"""How decoders fared where texts loop, beside elsewhere in the same texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames.frame import sections
from analysis.frames.table import Cell, Table
from analysis.paper.cells import cell_of, decoder, place
from analysis.paper.notes import table_of
from analysis.paper.selection import rows_of, some
from pearl_eval.results.intervals import total_ratio, total_ratio_interval
from pearl_eval.results.loops import SPAN, by_repetition
from pearl_eval.results.traces import Traces

_NOTE = (
    f"A token repeats if the {SPAN} tokens that it ends are in the output before, too. Text that"
    " repeats: the share of tokens; n: prompts (each sample, and each turn of a dialogue, is one),"
    " with the warm-up. α: accepted ÷ judged of the drafted tokens whose places in the text repeat,"
    " and of the others; n: judged. Speed ÷ elsewhere: tokens/s where texts repeat over those"
    " elsewhere in the same texts, prompts' own forwards and the warm-up left out; in brackets its"
    " 95 % interval over problems; n: problems that have both."
)
_SPEED = "speed ÷ elsewhere"


def loops(frame: pd.DataFrame) -> Table:
    """Acceptance and speed where texts repeat themselves, and elsewhere."""
    runs = some(frame[~frame["synthetic"].astype(bool)], "a run of real texts")
    cells = [
        cell
        for section, part in sections(runs)
        for run in rows_of(part)
        for cell in _cells(section, (place(run, runs), decoder(run)), run)
    ]
    index = ("pair", "decoder")
    title = "Where texts loop, and elsewhere"
    return table_of("loops", title, index, cells, runs, ("pair",), [_NOTE])


def _cells(section: str, row: tuple[str, str], run: Any) -> list[Cell]:
    found = by_repetition(Traces.read(Path(run["run"])))
    elsewhere, there = (found[found["repeats"] == mark] for mark in (False, True))
    source = (str(run["run"]),)
    share = 100 * there["tokens"].sum() / found["tokens"].sum()
    text = cell_of(section, row, "text that repeats", run, None, "prompts", form=".0f", unit=" %")
    cells = [replace(text, value=share)]
    for name, own in (("α elsewhere", elsewhere), ("α where it repeats", there)):
        judged = int(own["judged"].sum())
        rate = own["accepted"].sum() / judged if judged else None
        cells.append(Cell(section, row, name, rate, n=judged, runs=source))
    return [*cells, _speed(section, row, source, found)]


def _speed(
    section: str, row: tuple[str, str], source: tuple[str, ...], found: pd.DataFrame
) -> Cell:
    """How many times as fast the text grew where it repeats, in problems that have both."""
    timed = found[~found["warmup"].astype(bool) & (found["timed"] > 0)]
    there, elsewhere = (
        timed[timed["repeats"] == mark].groupby("task_id")[["timed", "seconds"]].sum()
        for mark in (True, False)
    )
    both = there.join(elsewhere, rsuffix="_elsewhere", how="inner")
    if both.empty:
        return Cell(section, row, _SPEED, None, n=0, runs=source)
    columns = [both[name].to_numpy(float) for name in both]
    low, high = total_ratio_interval(*columns) or (None, None)
    value = total_ratio(*columns)
    return Cell(section, row, _SPEED, value, low, high, len(both), source, unit="×")
