"""A table whose cells know the runs they are of: as a frame, Markdown, LaTeX or CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.frames.markdown import markdown_table
from pearl_eval.errors import UserError

_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "γ": r"$\gamma$",
    "α": r"$\alpha$",
    "†": r"$^\dagger$",
    "–": "--",
    "÷": r"$\div$",
    "≥": r"$\geq$",
}

#: After the name of a decoder whose output is not the target's.
LOSSY = " †"


class NoRuns(UserError):
    """There are no runs for the table or figure that was asked for."""


@dataclass(frozen=True)
class Cell:
    """One figure. ``row`` has a value for each name of the table's ``index``.

    ``n``: problems, or prompts, it is over. ``runs``: the directories it is made from. ``contends``
    for being the best of its column: an output that is not the target's own does not. ``source``:
    what a figure that is not ours is cited from.
    """

    section: str
    row: tuple[str, ...]
    column: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    runs: tuple[str, ...] = ()
    form: str = ".2f"
    unit: str = ""
    best: int = 0
    contends: bool = True
    source: str = ""


@dataclass(frozen=True)
class Table:
    """Cells, and what a reader needs beside them.

    Parameters
    ----------
    index
        What the parts of a row's name are.
    within
        The parts that rows must share to contend for the best of a column.
    notes
        Lines below the table: what its figures mean, where they were measured.
    """

    name: str
    title: str
    index: tuple[str, ...]
    cells: Sequence[Cell]
    within: tuple[str, ...] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def frame(self) -> pd.DataFrame:
        """The figures: a row and a column as in the table, sections first."""
        return self._wide(lambda cell: cell.value)

    @property
    def runs(self) -> pd.DataFrame:
        """The directories that each figure is from, in the same places."""
        return self._wide(lambda cell: ", ".join(cell.runs))

    @property
    def tidy(self) -> pd.DataFrame:
        """A row a cell: its place, value, interval, n, directories, and source if it's not ours."""
        return pd.DataFrame(
            [
                {"section": cell.section}
                | dict(zip(self.index, cell.row, strict=True))
                | {"column": cell.column, "value": cell.value, "unit": cell.unit}
                | {"low": cell.low, "high": cell.high, "n": cell.n, "runs": "; ".join(cell.runs)}
                | {"source": cell.source}
                for cell in self.cells
            ]
        )

    def text(self, bold: Callable[[str], str], escape: Callable[[str], str] = str) -> pd.DataFrame:
        """The table as it is read: intervals in brackets, the best of each column in bold."""
        best = self._best()

        def written(cell: Cell) -> str:
            if cell.value is None or pd.isna(cell.value):
                return "–"
            figure = escape(f"{cell.value:{cell.form}}{cell.unit}")
            figure = bold(figure) if cell in best else figure
            if cell.low is None or pd.isna(cell.low):
                return figure
            return figure + escape(f" ({cell.low:{cell.form}}–{cell.high:{cell.form}})")

        return self._wide(written).fillna("–")

    def markdown(self) -> str:
        """The table as Markdown, a part for each section, with its notes."""
        text = self.text(bold=lambda one: f"**{one}**")
        blocks = [f"**{self.title}**"]
        for section, part in _parts(text):
            heads = [*self.index, *self._heads(section, part)]
            rows = [[*key, *values] for key, values in zip(_keys(part), part.values, strict=True)]
            said = f"*{section}*\n\n" if section else ""
            blocks.append(said + markdown_table(heads, rows))
        notes = "\n".join(f"{note}  " for note in self.notes).rstrip()
        return "\n\n".join([*blocks, *([notes] if notes else [])])

    def latex(self) -> str:
        """The table for LaTeX with booktabs, a rule and a heading for each section."""
        text = self.text(bold=lambda one: rf"\textbf{{{one}}}", escape=latex_escaped)
        columns = "l" * len(self.index) + "r" * len(text.columns)
        width = len(columns)
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex_escaped(self.title)}}}"]
        lines += [rf"\label{{tab:{self.name}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        for number, (section, part) in enumerate(_parts(text, drop=False)):
            heads = [*self.index, *self._heads(section, part)]
            lines += [r"\midrule"] if number else []
            if section:
                lines += [rf"\multicolumn{{{width}}}{{l}}{{\emph{{{latex_escaped(section)}}}}} \\"]
            lines += [" & ".join(map(latex_escaped, heads)) + r" \\", r"\midrule"]
            for key, values in zip(_keys(part), part.values, strict=True):
                cells = [*map(latex_escaped, key), *("--" if v == "–" else v for v in values)]
                lines.append(" & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par\footnotesize {latex_escaped(note)}" for note in self.notes]
        return "\n".join([*lines, r"\end{table}"])

    def csv(self) -> str:
        """A line a cell, unrounded, with the directories it is from, or else its source."""
        return self.tidy.to_csv(index=False).rstrip()

    def _wide(self, figure: Callable[[Cell], Any]) -> pd.DataFrame:
        rows = dict.fromkeys((cell.section, *cell.row) for cell in self.cells)
        columns = list(dict.fromkeys(cell.column for cell in self.cells))
        places = {((cell.section, *cell.row), cell.column): figure(cell) for cell in self.cells}
        if len(places) < len(self.cells):
            raise ValueError(f"{self.name}: two figures in one cell")
        index = pd.MultiIndex.from_tuples(list(rows), names=["section", *self.index])
        values = [[places.get((row, column)) for column in columns] for row in rows]
        return pd.DataFrame(values, index=index, columns=columns)

    def _best(self) -> list[Cell]:
        """The best cells: of each section and column, and of the rows that share ``within``."""
        groups: dict[Any, list[Cell]] = {}
        for cell in self.cells:
            if cell.best and cell.contends and cell.value is not None and not pd.isna(cell.value):
                shared = [cell.row[self.index.index(name)] for name in self.within]
                groups.setdefault((cell.section, cell.column, *shared), []).append(cell)
        found = []
        for group in groups.values():
            values = [cell.best * (cell.value or 0.0) for cell in group]
            if min(values) < max(values):
                own = zip(group, values, strict=True)
                found += [cell for cell, value in own if value == max(values)]
        return found

    def _heads(self, section: str, part: pd.DataFrame) -> list[str]:
        """The columns of a section, with how many problems their figures are over."""
        counts: dict[str, set[int]] = {}
        for cell in self.cells:
            if cell.section == section and cell.n is not None:
                counts.setdefault(cell.column, set()).add(cell.n)
        return [f"{name}{_problems(counts.get(name))}" for name in part.columns]


def latex_escaped(text: str) -> str:
    """A text as LaTeX takes it, in one pass."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def _parts(text: pd.DataFrame, drop: bool = True) -> list[tuple[str, pd.DataFrame]]:
    """The sections of a table; ``drop``: without the columns that have nothing there."""
    parts = []
    for section in dict.fromkeys(text.index.get_level_values("section")):
        part = text[text.index.get_level_values("section") == section]
        parts.append((section, part.loc[:, (part != "–").any()] if drop else part))
    return parts


def _keys(part: pd.DataFrame) -> list[list[str]]:
    return [[str(one) for one in key[1:]] for key in part.index]


def _problems(counts: set[int] | None) -> str:
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f" (n = {low})" if low == high else f" (n = {low}–{high})"
