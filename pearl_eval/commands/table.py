"""The table of a run or a sweep, from its files alone."""

from __future__ import annotations

import sys
from pathlib import Path

from pearl_eval.shell.console import print_table
from pearl_eval.shell.sweep import table_rows


def print_runs(directory: Path) -> None:
    """Print it; exit with 1 where a run has no result, or an output was not the target's own."""
    rows = table_rows(directory)
    print_table(str(directory), rows)
    if any(row.failed or row.violates for row in rows):
        sys.exit(1)
