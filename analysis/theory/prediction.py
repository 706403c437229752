"""How well the simulator predicts the speedups of a benchmark's pairs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from analysis.frames.markdown import markdown_table
from analysis.theory.grid import MeasuredCell, halves, read_cells
from pearl_eval.errors import UserError
from pearl_eval.figures.prediction import draw_prediction
from pearl_eval.figures.saving import check_format, save_figure
from pearl_eval.simulation import Costs

#: What is fitted, with where the fit starts, in seconds.
_FITTED = {"round": 1e-4, "crossing": 1e-4, "publish": 1e-5}
#: And that of transformers' loop, where a decoder runs in it.
_LIBRARY = {"library": 1e-3}
#: And that of looking drafts up, where one does.
_LOOKUP = {"lookup": 1e-4}


@dataclass(frozen=True)
class Point:
    """One contender on one pair, measured and predicted."""

    cell: str
    contender: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted / self.measured - 1


def predict(cells: Sequence[MeasuredCell], costs: Costs) -> list[Point]:
    """Every contender of every cell."""
    return [
        Point(cell.name, label, measured, cell.predicted(label, costs))
        for cell in cells
        for label, measured in cell.measured.items()
    ]


def fit(cells: Sequence[MeasuredCell]) -> Costs:
    """The costs beside forwards with which these cells are predicted best."""
    schedules = [cell.schedules[label] for cell in cells for label in cell.measured]
    first = dict(_FITTED)
    for attribute, beside in (("library", _LIBRARY), ("looks_up", _LOOKUP)):
        if any(getattr(schedule, attribute, False) for schedule in schedules):
            first |= beside
    start = np.array(list(first.values()))

    def residuals(scales: np.ndarray) -> list[float]:
        costs = Costs(**dict(zip(first, (scales * start).tolist(), strict=True)))
        return [float(np.log1p(point.error)) for point in predict(cells, costs)]

    found = least_squares(
        residuals,
        np.ones(len(start)),
        bounds=(0, np.inf),
        loss="soft_l1",
        f_scale=0.05,
        diff_step=0.1,
    )
    return Costs(**dict(zip(first, (found.x * start).tolist(), strict=True)))


def errors(points: Sequence[Point]) -> str:
    """The errors of predictions, in a line."""
    sizes = sorted(abs(point.error) for point in points)
    worst = max(points, key=lambda point: abs(point.error))
    return (
        f"median error {statistics.median(sizes):.1%}, worst {worst.error:+.1%}"
        f" ({worst.contender}, {worst.cell}),"
        f" {len(points)} predictions"
    )


def noise(cells: Sequence[MeasuredCell]) -> str:
    """How far measured speedups are off by themselves, beyond which no prediction can be told."""
    off = [abs(cell.same - 1) for cell in cells]
    return (
        f"autoregressive decoding beside itself was off by {statistics.median(off):.1%} in the"
        f" median, {max(off):.1%} at worst, {len(off)} pairs"
    )


def table(points: Sequence[Point]) -> str:
    """Errors by decoder, as Markdown."""
    rows = []
    for name in dict.fromkeys(point.contender.split()[0] for point in points):
        own = [point for point in points if point.contender.split()[0] == name]
        worst = max(own, key=lambda point: abs(point.error))
        median = statistics.median(abs(point.error) for point in own)
        rows.append((name, len(own), f"{median:.1%}", f"{worst.error:+.1%}"))
    return markdown_table(("decoder", "predictions", "median error", "worst error"), rows)


def predict_benchmarks(
    directories: Sequence[Path], output: Path | None = None, swap: bool = False
) -> None:
    """Predict one half of the cells by costs fitted on the other, print how well, and draw it.

    ``swap``: fit on the half that is otherwise predicted.
    """
    output = output or directories[0] / "prediction.png"
    check_format(output)
    cells = read_cells(*directories)
    fitted_on, held_out = reversed(halves(cells)) if swap else halves(cells)
    if not fitted_on or not held_out:
        raise UserError(
            f"{directories[0]}: too few pairs for two halves; take more depths, or a second"
            " benchmark's directory"
        )
    costs = asdict(fit(fitted_on))
    print(
        "fitted, µs: " + ", ".join(f"{name} {1e6 * one:.0f}" for name, one in costs.items() if one)
    )
    fitted, predicted = (predict(half, Costs(**costs)) for half in (fitted_on, held_out))
    print(f"the half fitted on:  {errors(fitted)}")
    print(f"the half predicted:  {errors(predicted)}")
    print(f"the measurement:     {noise(cells)}")
    print(table(predicted))
    drawn = draw_prediction(
        [(one.contender.split()[0], one.measured, one.predicted) for one in predicted],
        f"{errors(predicted)}\n{noise(cells)}",
    )
    print(save_figure(drawn, output))
