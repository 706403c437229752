"""What a person reads in the terminal: one table, one line per error."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from pearl_eval.results import table
from pearl_eval.results.table import DISPENSABLE, LATENCY_HEADINGS, OF_CATEGORIES, Row
from pearl_eval.shell.streams import lead_nowhere

#: Width of tables where the output is no terminal.
_PLAIN_WIDTH = 170
#: Width that names of runs and categories need not be folded to, and a width that all is below.
_NAME_WIDTH, _ENDLESS = 12, 10_000


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without a reader: rich would end the program, with the code of a violation."""
        lead_nowhere(self.file)


def console(stderr: bool) -> Console:
    """A console on standard error or output: plain text where that is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return _Console(stderr=stderr, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False)


def print_error(message: str) -> None:
    """One line on standard error."""
    line = " ".join(str(message).split())
    console(stderr=True).print(f"[bold red]pearl-eval: error:[/] {escape(line)}", soft_wrap=True)


def print_note(message: str) -> None:
    """A line on standard error that is no error."""
    console(stderr=True).print(f"pearl-eval: {escape(message)}", soft_wrap=True)


def print_table(title: str, rows: Sequence[Row]) -> None:
    """The table of a run or a sweep, on standard output."""
    out = console(stderr=False)
    # The verdict must never be cut, so a narrow terminal does without some of the rest.
    drawings = (_run_table(title, rows, DISPENSABLE[:n]) for n in range(len(DISPENSABLE) + 1))
    out.print(_widest(out, drawings))
    latencies = _latency_table(rows)
    if latencies.row_count and _fits(out, latencies):
        out.print(latencies)
    if any(row.summary and row.summary["by_category"] for row in rows):
        out.print(_widest(out, (_category_table(rows, names) for names in ((), OF_CATEGORIES))))
    for note in table.notes(rows):
        out.print(escape(note), soft_wrap=True)
    for row in rows:
        failure = f" [red]failed: {escape(row.error)}[/]" if row.failed else ""
        out.print(f"{escape(row.label)}: {escape(row.directory)}{failure}", soft_wrap=True)


def _marked(cell: str) -> str:
    return f"[bold red]{cell}[/]" if cell.startswith(("VIOLATION", "failed")) else cell


def _begun(first: str, headings: Iterable[str], **options: Any) -> Table:
    """A table without rows: a column of names, which may be folded, then one of each heading."""
    drawn = Table(title_justify="left", **options)
    drawn.add_column(first, overflow="fold")
    for heading in headings:
        drawn.add_column(heading, justify="right", no_wrap=True)
    return drawn


def _run_table(title: str, rows: Sequence[Row], without: Collection[str]) -> Table:
    headings = table.headings(rows)
    shown = [heading not in without for heading in headings]
    drawn = _begun("run", compress(headings, shown), title=escape(title), title_style="bold")
    for row in rows:
        drawn.add_row(escape(row.label), *compress(map(_marked, table.cells(row, rows)), shown))
    return drawn


def _latency_table(rows: Sequence[Row]) -> Table:
    drawn = _begun("run", LATENCY_HEADINGS, title="Latency")
    for row in rows:
        if cells := table.latency_cells(row):
            drawn.add_row(escape(row.label), *cells)
    return drawn


def _category_table(rows: Sequence[Row], without: Collection[str]) -> Table:
    """The categories of each run, below its label where there are several."""
    headings = table.category_headings(rows)
    shown = [heading not in without for heading in headings]
    drawn = _begun("category", compress(headings, shown), title="By category")
    for row in rows:
        categories = (row.summary["by_category"] if row.summary else None) or {}
        if categories and len(rows) > 1:
            drawn.add_row(f"[bold]{escape(row.label)}[/]")
        for category, figures in categories.items():
            drawn.add_row(escape(category), *compress(table.category_cells(figures), shown))
        drawn.add_section()
    return drawn


def _widest(out: Console, drawings: Iterable[Table]) -> Table:
    """The first of some tables, from wide to narrow, that fits; else the last."""
    drawn = None
    for drawn in drawings:
        if _fits(out, drawn):
            break
    assert drawn is not None
    return drawn


def _fits(out: Console, drawn: Table) -> bool:
    """Whether a table fits as it is, but for names in its first column, which may be folded."""
    names = max((cell_len(str(cell)) for cell in drawn.columns[0].cells), default=0)
    whole = Measurement.get(out, out.options.update(max_width=_ENDLESS), drawn).maximum
    return whole - max(0, names - _NAME_WIDTH) <= out.width
