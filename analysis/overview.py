"""One picture of a sweep: how fast each run was, and how much of the time each model waited."""

from __future__ import annotations

import argparse
from pathlib import Path

from pearl_eval.errors import UserError
from pearl_eval.figures.overview import draw_overview
from pearl_eval.figures.saving import save_figure
from pearl_eval.results.runs import finished_runs
from pearl_eval.shell.streams import standard_streams


@standard_streams()
def main() -> None:
    """``python -m analysis.overview DIRECTORY``: draw a sweep or a run into a PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="a sweep's directory, or a run's")
    parser.add_argument("-o", "--output", type=Path, help="default: overview.png in DIRECTORY")
    arguments = parser.parse_args()
    try:
        runs = finished_runs(arguments.directory)
        output = arguments.output or arguments.directory / "overview.png"
        output = save_figure(draw_overview(runs), output)
    except (UserError, OSError) as error:
        parser.error(str(error))
    print(output)


if __name__ == "__main__":
    main()
