"""Heat maps of speedup over (c, α): what was measured on a grid, over what theory predicts."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis import theory
from analysis.grid import Cell, read_grid
from pearl_eval.errors import UserError
from pearl_eval.figures.heatmap import draw_heatmap


def _speculative(speed_ratio: float, rate: float) -> float:
    gamma = theory.speculative_gamma(speed_ratio, rate)
    return theory.speculative_speedup(speed_ratio, rate, gamma)


def _pearl(speed_ratio: float, rate: float) -> float:
    return theory.pearl_speedup(speed_ratio, rate, theory.pearl_gamma(speed_ratio, rate))


#: What theory predicts of each decoder, at its best draft length.
PREDICTED = {
    "speculative": _speculative,
    "pearl": _pearl,
    "pearl_async": theory.async_speedup,
}


def best(cells: list[Cell], decoder: str) -> list[tuple[float, float, float]]:
    """c, α and the speedup at the best draft length measured, of each cell."""
    found = []
    for cell in cells:
        own = [ratio for label, ratio in cell.measured.items() if label.split()[0] == decoder]
        if own:
            found.append((cell.speed_ratio, cell.acceptance_rate, max(own)))
    return found


def main() -> None:
    """``python -m analysis.heatmap [DIRECTORY]``: draw the surfaces, and a grid's points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", help="of pearl-eval-bench's grid")
    parser.add_argument("-o", "--output", type=Path, default=Path("heatmap.png"))
    arguments = parser.parse_args()
    try:
        cells = read_grid(arguments.directory) if arguments.directory else []
    except UserError as error:
        parser.error(str(error))
    measured = {name: best(cells, name) for name in PREDICTED}
    subtitle = "closed forms: no overhead, the window costs nothing"
    if cells:
        subtitle += "; points: measured, in the same colours"
    draw_heatmap(PREDICTED, measured, subtitle).savefig(arguments.output, dpi=150)
    print(arguments.output)


if __name__ == "__main__":
    main()
