"""Predicted over measured speedups, and speedups over speed ratio and acceptance rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pearl_eval.figures.palette import IDLE, INK, looks, styled

#: The largest error that predictions should have.
_WORST = 0.12


@styled
def draw_prediction(points: Sequence[tuple[str, float, float]], errors: str) -> Figure:
    """Predicted against measured speedups, and the errors of each decoder.

    ``points`` are a decoder's name, its speedup as measured, and as predicted; ``errors`` are
    the lines below the title.
    """
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    low = 0.95 * min(min(point[1:]) for point in points)
    high = 1.05 * max(max(point[1:]) for point in points)
    line = np.array([low, high])
    left.fill_between(
        line, line * (1 - _WORST), line * (1 + _WORST), color=IDLE, label=f"± {_WORST:.0%}"
    )
    left.plot(line, line, color=INK, linewidth=0.8)
    right.axhspan(-_WORST, _WORST, color=IDLE)
    right.axhline(0, color=INK, linewidth=0.8)
    for name, (colour, marker) in looks(point[0] for point in points).items():
        measured, predicted = np.array([point[1:] for point in points if point[0] == name]).T
        look = {
            "marker": marker,
            "color": colour,
            "markeredgecolor": INK,
            "markeredgewidth": 0.4,
            "linestyle": "none",
            "markersize": 5,
        }
        left.plot(measured, predicted, label=name, **look)
        right.plot(measured, predicted / measured - 1, **look)
    left.set_xscale("log")
    left.set_yscale("log")
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        axis.set_major_formatter("{x:g}×")
        axis.set_minor_formatter("")
    ticks = [tick for tick in (0.5, 0.7, 1, 1.5, 2, 3, 4, 6, 8, 10) if low < tick < high]
    left.set_xticks(ticks)
    left.set_yticks(ticks)
    left.set_aspect("equal")
    left.set_xlabel("measured speedup")
    left.set_ylabel("predicted speedup")
    left.legend(fontsize=8, frameon=False)
    right.set_xlabel("measured speedup")
    right.set_ylabel("predicted ÷ measured − 1")
    right.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    figure.suptitle(f"Predicted by simulation, on pairs not fitted to\n{errors}", fontsize=10)
    return figure
