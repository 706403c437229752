"""What the authors of PEARL report, from ``reported.yaml``, and tables with it beside ours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from analysis.frames.table import Cell, Table
from analysis.paper.cells import MEAN_SPEEDUP
from analysis.paper.paper_tables import GSM8K

_FILE = Path(__file__).with_name("reported.yaml")
#: The figure that a table cites.
_CITED = {
    "humaneval": "speedup",
    "languages": "speedup",
    "mt_bench": "speedup",
    "resource_competition": "tokens_per_second",
}


@dataclass(frozen=True)
class Reported:
    """A figure of theirs. ``pair``, ``task``, ``decoder``: as configurations are called here.

    ``max_new_tokens``: of a text. ``source``: what it is cited from, in full.
    """

    figure: str
    decoder: str
    value: float
    unit: str
    source: str
    pair: str = ""
    task: str = ""
    max_new_tokens: int | None = None


def _read() -> tuple[tuple[Reported, ...], str, str]:
    content: Any = OmegaConf.to_container(OmegaConf.load(_FILE))
    own = [one | {"source": content["sources"][one["source"]]} for one in content["figures"]]
    mark = f"reported by the authors, on {content['hardware']}"
    return tuple(Reported(**one) for one in own), mark, content["conditions"]


#: The figures; what they are marked with in tables; how they were measured.
REPORTED, MARK, CONDITIONS = _read()


def figures(name: str, **asked: str) -> list[Reported]:
    """The figures of a name, of the decoder, pair or task that is asked for."""
    return [
        one
        for one in REPORTED
        if one.figure == name and all(getattr(one, key) == value for key, value in asked.items())
    ]


def with_reported(table: Table, frame: pd.DataFrame) -> Table:
    """A table of these runs with a section of what the authors report of the same pairs and tasks.

    ``MARK`` is the section's name. Nothing of it contends for the best of a column. The same table
    where they report nothing of the kind.
    """
    runs = {run for cell in table.cells for run in cell.runs}
    shown = frame[frame["run"].isin(runs)]
    places = set(zip(shown["pair"], shown["task"], strict=True))
    cited = [one for one in figures(_CITED.get(table.name, "")) if (one.pair, one.task) in places]
    if not cited:
        return table
    columns = {cell.column for cell in table.cells}
    cells = [_cell(table.name, columns, one) for one in cited]
    return replace(table, cells=[*table.cells, *cells], notes=[*table.notes, *_notes(cited)])


def _cell(table: str, columns: Collection[str], one: Reported) -> Cell:
    """``columns``: those of our own figures."""
    common: dict[str, Any] = {"value": one.value, "source": one.source, "contends": False}
    if table == "resource_competition":
        # Whose pairs were each measured on one task, which is told since ours may be on others.
        return Cell(MARK, (f"{one.pair}, {one.task}", one.decoder), one.unit, **common)
    common["unit"] = one.unit
    if table == "humaneval":
        return Cell(MARK, (one.decoder,), one.pair, **common)
    column = MEAN_SPEEDUP
    if one.task == "gsm8k":
        column = GSM8K if GSM8K in columns else "en"
    return Cell(MARK, (one.pair, one.decoder), column, **common)


def _notes(cited: Sequence[Reported]) -> list[str]:
    limits = dict.fromkeys(f"{one.task} to {one.max_new_tokens} tokens" for one in cited)
    sources = dict.fromkeys(one.source for one in cited)
    mark = MARK[0].upper() + MARK[1:]
    return [f"{mark}: {', '.join(limits)}; {CONDITIONS}. From {'; '.join(sources)}."]
