"""Maps of the fastest decoder over speed ratio and acceptance rate, all of it predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from pearl_eval.figures.palette import BLUE, INK, looks, styled

Speeds = NDArray[np.float64]

#: Values of c and of α between which surfaces are interpolated, to be drawn.
_FINE = 240
#: Speedups of the winner, and shares by which it is ahead, that have a line.
_SPEEDUPS = (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_LEADS = (0.05, 0.1, 0.2, 0.4)
#: Where the winner is ahead by less, the simulator can't tell: it errs by as much.
CLOSE = 0.02
#: Shares beyond which the colour of a rival's map does not change.
_MOST = 0.6
#: Values of c that are written beside the maps.
_TICKS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
#: How much of a region's colour is seen.
_TINT = 0.55


@dataclass(frozen=True)
class Mark:
    """A pair whose speed ratio is known, and what it is called in the list below the maps.

    ``at_end``: its number is at the right end of its line.
    """

    speed_ratio: float
    name: str
    at_end: bool = False


@dataclass(frozen=True)
class Panel:
    """One map: speedups by decoder, ``[c, α]``, and what is marked on it."""

    title: str
    speedups: Mapping[str, Speeds]
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class Rival:
    """What needs more hardware than the others: its speedups, and those of the others' best."""

    title: str
    speedups: Speeds
    others: Speeds


def refined(axis: Sequence[float]) -> Speeds:
    """More values of an axis, in its range."""
    return np.geomspace(axis[0], axis[-1], _FINE)


def interpolated(axis: Sequence[float], own: Speeds, along: int) -> Speeds:
    """A surface at more values of an axis."""
    return np.apply_along_axis(lambda row: np.interp(refined(axis), axis, row), along, own)


@styled
def draw_winners(
    ratios: Sequence[float],
    rates: Sequence[float],
    panels: Sequence[Panel],
    rivals: Sequence[Rival],
    measured: Sequence[tuple[float, float, str]],
    marked_rates: tuple[float, float],
    subtitle: str,
) -> Figure:
    """A map for each of ``panels``, and one for each of ``rivals``.

    ``measured`` are (c, α, the decoder that was the fastest there). Marks lie at ``marked_rates``.
    """
    names = [name for name in panels[0].speedups]
    look = looks(names)
    drawing = _Drawing(ratios, rates, names, [look[name][0] for name in names])
    count = len(panels) + len(rivals)
    columns = min(count, 2)
    rows = -(-count // columns)
    numbered = [mark for panel in panels for mark in panel.marks]
    figure = Figure(figsize=(5.4 * columns, 4.4 * rows + 1.9), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for place, panel in zip(axes, panels, strict=False):
        drawing.panel(place, panel, numbered, marked_rates)
        drawing.measured(place, measured)
    for place, rival in zip(axes[len(panels) :], rivals, strict=False):
        drawing.rival(place, rival)
    for place in axes[count:]:
        place.set_visible(False)
    axes[0].set_yscale("log")
    axes[0].set_yticks([tick for tick in _TICKS if ratios[0] <= tick <= ratios[-1]], minor=False)
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_locator(NullLocator())
    for row in range(rows):
        axes[row * columns].set_ylabel("speed ratio c")
    for place in axes[max(0, count - columns) : count]:
        place.set_xlabel("acceptance rate α")
    figure.legend(
        **drawing.legend(bool(measured)),
        loc="outside lower left",
        ncols=3,
        fontsize=8,
        frameon=False,
        title=_said(numbered),
        title_fontsize=8,
        alignment="left",
    )
    figure.suptitle(
        f"The fastest decoder, each at its best settings, predicted\n{subtitle}", fontsize=10
    )
    return figure


@dataclass(frozen=True)
class _Drawing:
    """What all maps of a picture share: their axes, and the colours of decoders."""

    ratios: Sequence[float]
    rates: Sequence[float]
    names: Sequence[str]
    colours: Sequence[str]

    def _fine(self, own: Speeds) -> Speeds:
        return interpolated(self.rates, interpolated(self.ratios, own, 0), 1)

    @property
    def _grid(self) -> tuple[Speeds, Speeds]:
        return refined(self.rates), refined(self.ratios)

    @property
    def _tints(self) -> list[str]:
        return [to_hex((*to_rgb(one), _TINT), keep_alpha=True) for one in self.colours]

    def panel(
        self, axes: Axes, panel: Panel, numbered: Sequence[Mark], marked: tuple[float, float]
    ) -> None:
        speeds = np.stack([self._fine(panel.speedups[name]) for name in self.names])
        ordered = np.sort(speeds, axis=0)
        best, lead = ordered[-1], ordered[-1] / ordered[-2] - 1
        axes.pcolormesh(
            *self._grid,
            speeds.argmax(axis=0),
            cmap=ListedColormap(self._tints),
            vmin=-0.5,
            vmax=len(self.names) - 0.5,
            shading="nearest",
            rasterized=True,
        )
        close = axes.contourf(*self._grid, lead, [-1, CLOSE], colors="none", hatches=["...."])
        close.set_edgecolor((1, 1, 1, 0.8))
        close.set_linewidth(0)
        lines = axes.contour(*self._grid, best, _SPEEDUPS, colors=INK, linewidths=0.9)
        axes.clabel(lines, fmt="%g×", fontsize=7.5)
        leads = axes.contour(
            *self._grid, lead, _LEADS, colors=BLUE, linewidths=1.0, linestyles="dashed"
        )
        axes.clabel(leads, fmt=lambda value: f"+{value:.0%}", fontsize=7.5)
        for mark in panel.marks:
            axes.plot(marked, [mark.speed_ratio] * 2, color=INK, linewidth=2.2, marker="|")
            axes.annotate(
                str(numbered.index(mark) + 1),
                (marked[mark.at_end], mark.speed_ratio),
                xytext=(9 if mark.at_end else -9, 0),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=7.5,
                bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": INK, "lw": 0.7},
            )
        axes.set_title(panel.title, fontsize=9.5)

    def measured(self, axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
        known = [point for point in points if point[2] in self.names]
        for ratio, rate, name in known:
            axes.plot(rate, ratio, color=self.colours[self.names.index(name)], **_POINT)

    def rival(self, axes: Axes, rival: Rival) -> None:
        ahead = self._fine(rival.speedups) / self._fine(rival.others) - 1
        axes.pcolormesh(
            *self._grid,
            ahead,
            cmap="PuOr",
            vmin=-_MOST,
            vmax=_MOST,
            shading="gouraud",
            rasterized=True,
        )
        levels = [-0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8]
        lines = axes.contour(
            *self._grid,
            ahead,
            levels,
            colors=INK,
            linewidths=[1.8 if not one else 0.8 for one in levels],
        )
        axes.clabel(lines, fmt=lambda value: f"{value:+.0%}", fontsize=7.5)
        axes.set_title(rival.title, fontsize=9.5)

    def legend(self, measured: bool) -> dict[str, Any]:
        """Handles and labels."""
        said: dict[str, Any] = {
            f"{name} is the fastest": Patch(facecolor=tint, edgecolor=INK, linewidth=0.4)
            for name, tint in zip(self.names, self._tints, strict=True)
        }
        said[f"dotted: ahead of the second by less than {CLOSE:.0%}"] = Patch(
            facecolor="#BBBBBB", edgecolor="white", hatch="....", linewidth=0
        )
        said["speed ÷ autoregressive"] = Line2D([], [], color=INK, linewidth=0.9)
        said["ahead of the second by"] = Line2D(
            [], [], color=BLUE, linestyle="dashed", linewidth=1.0
        )
        if measured:
            said["measured: the fastest of those that ran"] = tuple(
                Line2D([], [], color=colour, linestyle="none", **_POINT)
                for colour in self.colours[1:4]
            )
        return {
            "handles": list(said.values()),
            "labels": list(said),
            "handler_map": {tuple: HandlerTuple(ndivide=None)},
        }


#: A point that is seen on a region of its own colour.
_POINT: dict[str, Any] = {
    "marker": "o",
    "markersize": 7,
    "markeredgecolor": INK,
    "markeredgewidth": 1.0,
    "clip_on": False,
}


def _said(marks: Sequence[Mark]) -> str | None:
    """The list of marks."""
    lines = [f"{number}  {mark.name}" for number, mark in enumerate(marks, start=1)]
    return "\n".join(lines) or None
