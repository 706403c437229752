"""The ``pearl-eval-table`` command: the table of a run or a sweep, from its files alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pearl_eval.errors import UserError
from pearl_eval.results.runs import finished_runs
from pearl_eval.results.table import Row
from pearl_eval.shell.console import print_error, print_table
from pearl_eval.shell.streams import standard_streams
from pearl_eval.shell.sweep import sweep_rows


def table_rows(directory: Path) -> list[Row]:
    """A row for each run of a sweep, finished or not, or the one of a run's own directory."""
    return sweep_rows(directory) or [
        Row(run.label, str(run.directory), run.summary) for run in finished_runs(directory)
    ]


@standard_streams()
def main() -> None:
    """Entry point of ``pearl-eval-table``."""
    parser = argparse.ArgumentParser(
        prog="pearl-eval-table",
        description="Print the table of a sweep or a run from what its runs have written so far: on"
        " a cluster also while some run or wait, or after the command that started them is gone."
        " Exits with 0; with 1 if a run has failed or is not finished, or an output was not the"
        " target's own; with 2 if there is no run.",
        epilog="example:\n  pearl-eval-table multirun/DATE/TIME\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, help="a sweep's directory, or a run's")
    directory = parser.parse_args().directory
    try:
        rows = table_rows(directory)
        print_table(str(directory), rows)
        failed = any(row.failed or row.violates for row in rows)
    except (UserError, OSError) as error:
        print_error(str(error))
        sys.exit(2)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
