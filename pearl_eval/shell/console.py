"""What a person reads in the terminal: one table, one line per error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import compress

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pearl_eval.results import table
from pearl_eval.results.table import DISPENSABLE, OF_WIDE, Row
from pearl_eval.shell.streams import lead_nowhere

#: Width of tables where the output is no terminal.
_PLAIN_WIDTH = 210
#: Width from which the table shows more columns, and from which all.
_WIDE, _VERY_WIDE = 125, 185


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
    wide = out.width >= _WIDE
    # The verdict must never be cut, so a narrow terminal does without some of the rest.
    left_out = (*(() if wide else DISPENSABLE), *(() if out.width >= _VERY_WIDE else OF_WIDE))
    shown = [heading not in left_out for heading in table.headings(rows)]
    drawn = Table(title=escape(title), title_justify="left", title_style="bold")
    drawn.add_column("run", overflow="fold")
    for heading in compress(table.headings(rows), shown):
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        drawn.add_row(escape(row.label), *compress(map(_marked, table.cells(row, rows)), shown))
    out.print(drawn)
    if any(row.summary and row.summary["by_category"] for row in rows):
        out.print(_category_table(rows, wide))
    for note in table.notes(rows):
        out.print(escape(note), soft_wrap=True)
    for row in rows:
        failure = f" [red]failed: {escape(row.error)}[/]" if row.failed else ""
        out.print(f"{escape(row.label)}: {escape(row.directory)}{failure}", soft_wrap=True)


def _marked(cell: str) -> str:
    return f"[bold red]{cell}[/]" if cell.startswith(("VIOLATION", "failed")) else cell


def _category_table(rows: Sequence[Row], wide: bool) -> Table:
    """The categories of each run, below its label where there are several."""
    drawn = Table(title="By category", title_justify="left")
    drawn.add_column("category", overflow="fold")
    headings = table.category_headings(rows)
    shown = len(headings) if wide else len(headings) - 2
    for heading in headings[:shown]:
        drawn.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        categories = (row.summary["by_category"] if row.summary else None) or {}
        if categories and len(rows) > 1:
            drawn.add_row(f"[bold]{escape(row.label)}[/]")
        for category, figures in categories.items():
            drawn.add_row(escape(category), *table.category_cells(figures)[:shown])
        drawn.add_section()
    return drawn
