"""The table of a run or a sweep, from its files alone."""

from __future__ import annotations

import sys
from pathlib import Path

from pearl_eval.results.runs import finished_runs
from pearl_eval.results.table import Row
from pearl_eval.shell.console import print_table
from pearl_eval.shell.sweep import sweep_rows


def table_rows(directory: Path) -> list[Row]:
    """A row for each run of a sweep, finished or not, or the one of a run's own directory."""
    return sweep_rows(directory) or [
        Row(run.label, str(run.directory), run.summary) for run in finished_runs(directory)
    ]


def print_runs(directory: Path) -> None:
    """Print it; exit with 1 where a run has no result, or an output was not the target's own."""
    rows = table_rows(directory)
    print_table(str(directory), rows)
    if any(row.failed or row.violates for row in rows):
        sys.exit(1)
