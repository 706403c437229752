"""Heat maps of speedup over (c, α): what was measured on a grid, over what is predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from analysis.theory import theory
from analysis.theory.grid import MeasuredCell, read_grid
from analysis.theory.prediction import fit
from pearl_eval.figures.heatmap import LOWEST, STEPS, draw_heatmap
from pearl_eval.figures.saving import check_format, save_figure
from pearl_eval.simulation import Costs, ForwardTimes, Rate


def _speculative(speed_ratio: float, rate: float) -> float:
    gamma = theory.speculative_gamma(speed_ratio, rate)
    return theory.speculative_speedup(speed_ratio, rate, gamma)


def _pearl(speed_ratio: float, rate: float) -> float:
    return theory.pearl_speedup(speed_ratio, rate, theory.pearl_gamma(speed_ratio, rate))


Predicted = dict[str, Callable[[float, float], float]]
#: What theory predicts of each schedule, at its best draft length.
THEORY: Predicted = {"Sequential": _speculative, "Parallel": _pearl, "Ahead": theory.async_speedup}
#: Values of c and of α at which a simulated surface is computed, which takes a while.
_SIMULATED_STEPS = 12
#: Simulated texts for each of a cell's prompts.
_REPEATS = 10


def simulated(cells: Sequence[MeasuredCell], costs: Costs) -> Predicted:
    """What the simulator predicts of each decoder on a grid, at the best draft length of its cells.

    Texts are as long as theirs, and forwards take as long as those of the cell in the middle, the
    target's in proportion to c.
    """
    middle = sorted(cells, key=lambda cell: cell.speed_ratio)[len(cells) // 2]
    # How often what is looked up is right does not follow from α.
    labels = dict.fromkeys(
        label for cell in cells for label in cell.measured if label not in cell.recorded
    )

    def of(decoder: str) -> Callable[[float, float], float]:
        own = [label for label in labels if label.split()[0] == decoder]

        def speedup(speed_ratio: float, rate: float) -> float:
            cell = replace(
                middle,
                forwards=_at(middle.forwards, speed_ratio),
                prompts=middle.prompts * _REPEATS,
            )
            return max(cell.predicted(label, costs, Rate(rate)) for label in own)

        return speedup

    return {decoder: of(decoder) for decoder in dict.fromkeys(one.split()[0] for one in labels)}


def _at(forwards: ForwardTimes, speed_ratio: float) -> ForwardTimes:
    """With a target that is slower or faster throughout."""
    factor = speed_ratio / forwards.speed_ratio
    seconds = tuple(tuple(factor * one for one in row) for row in forwards.target.seconds)
    return replace(forwards, target=replace(forwards.target, seconds=seconds))


def best(cells: list[MeasuredCell], decoder: str) -> list[tuple[float, float, float]]:
    """c, α and the speedup at the best draft length measured, of each cell."""
    found = []
    for cell in cells:
        # Without a decoder that judges blocks in place there is no α.
        if decoder in cell.best and cell.acceptance_rate is not None:
            found.append((cell.speed_ratio, cell.acceptance_rate, cell.best[decoder]))
    return found


def write_heatmap(directory: Path | None = None, output: Path = Path("heatmap.png")) -> None:
    """Draw theory's surfaces, or, with the directory of a benchmark's grid, the simulator's and the
    grid's points; print the picture's path."""
    check_format(output)
    cells = read_grid(directory) if directory else []
    predicted, steps, lowest = THEORY, STEPS, LOWEST
    subtitle = "predicted by closed forms: no overhead, the window costs nothing"
    if cells:
        predicted, steps = simulated(cells, fit(cells)), _SIMULATED_STEPS
        lowest = min(LOWEST, *(0.9 * cell.speed_ratio for cell in cells))
        subtitle = (
            "predicted by simulation, at the grid's fitted costs, texts of"
            f" {cells[0].max_new_tokens} tokens; points: measured, in the same colours"
        )
    measured = {name: best(cells, name) for name in predicted}
    print(save_figure(draw_heatmap(predicted, measured, subtitle, steps, lowest), output))
