"""The pictures of a benchmark, drawn from what its ``bench.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pearl_eval.figures.palette import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
)

#: Decoders have them in the order in which they compete.
_COLOURS = (GREY, ORANGE, BLUE, SKY, INK, VERMILLION, PURPLE, YELLOW, GREEN)
_MARKERS = "osD^vP*X"
#: What the reference is called among what contenders are compared with.
REFERENCE = "reference"
#: Both kinds of every picture: one to look at, one to print.
_FORMATS = ("png", "svg")


def draw_all(content: Mapping[str, Any], directory: Path) -> list[str]:
    """Draw what there is of contest, grid and growth into ``directory``; the names of the files."""
    figures = {}
    if content["contest"]:
        figures["contest"] = draw_contest(content["contest"], content["title"])
    if content["grid"]:
        figures["grid"] = draw_grid(content["grid"])
    if content["growth"]:
        figures["growth"] = draw_growth(content["growth"])
    for name, figure in figures.items():
        for suffix in _FORMATS:
            figure.savefig(directory / f"{name}.{suffix}", dpi=150)
    return [f"{name}.{suffix}" for name in figures for suffix in _FORMATS]


def draw_contest(contest: Mapping[str, Any], title: str) -> Figure:
    """Speedups with quartiles by prompt, limit 1 as a line, limit 2 as a mark on each bar."""
    rows = contest["rows"]
    colours = _colours(rows)
    figure = Figure(figsize=(8.5, 1.9 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    reference = rows[0]["tokens_per_second"] / rows[0]["ratios"][REFERENCE]["value"]
    limit_1 = contest["draft_limit"] / reference
    ends = []
    limit_2_named = False
    for place, row in enumerate(rows):
        ratio = row["ratios"][REFERENCE]
        axes.barh(place, ratio["value"], height=0.68, color=colours[row["decoder"]])
        _, lower, _, upper, _ = ratio["spread"]
        axes.plot([lower, upper], [place, place], color="black", linewidth=1.2)
        end = written = max(upper, ratio["value"])
        if row["round_limit_share"]:
            limit = ratio["value"] / row["round_limit_share"]
            label = None if limit_2_named else "limit 2: rounds as long as their forwards"
            axes.plot([limit], [place], "D", color="black", mfc="white", ms=5, label=label)
            limit_2_named, end = True, max(end, limit)
            # Beside a mark that the number would cover, but not out at one that is far from it.
            written = limit if written < limit < written + 0.1 * limit_1 else written
        axes.text(written, place, f"  {ratio['value']:.2f}×", va="center", fontsize=8)
        ends.append(end)
    axes.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.axvline(
        limit_1,
        color="black",
        linewidth=1.2,
        linestyle="--",
        label="limit 1: a token takes one draft forward",
    )
    axes.set_yticks(range(len(rows)), [r["contender"] for r in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max([*ends, limit_1]))
    axes.set_xlabel("speed ÷ reference (bar: over all prompts, line: quartiles by prompt)")
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    axes.margins(y=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}: c = {contest['speed_ratio']:.1f}", fontsize=10)
    return figure


def draw_grid(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel a decoder: its speedup at the best draft length, by depth and perturbation.

    Ticks show what the dials gave: medians of c over a row, of α over a column.
    """
    names = [one["decoder"] for one in cells[0]["best"] if one["drafts"]]
    depths = sorted({cell["depth"] for cell in cells})
    perturbations = sorted({cell["perturbation"] for cell in cells}, reverse=True)
    by_dials = {
        (cell["depth"], cell["perturbation"], one["decoder"]): (
            one["ratios"][REFERENCE]["value"],
            one["gamma"],
        )
        for cell in cells
        for one in cell["best"]
        if one["drafts"]
    }
    known = {(cell["depth"], cell["perturbation"]): cell for cell in cells}
    top, low = (choose(value for value, _ in by_dials.values()) for choose in (max, min))
    width = 1.6 + len(names) * (0.9 + 0.72 * len(perturbations))
    figure = Figure(figsize=(max(width, 6.0), 2.0 + 0.6 * len(depths)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    image = None
    for axes, name in zip(panels, names, strict=True):
        speeds = [[by_dials[d, p, name] for p in perturbations] for d in depths]
        values = np.array([[ratio for ratio, _ in row] for row in speeds])
        image = axes.imshow(
            values, cmap="cividis", vmin=min(1.0, low), vmax=top, origin="lower", aspect="auto"
        )
        _annotate(axes, speeds, (min(1.0, low) + top) / 2)
        axes.set_title(name, fontsize=10)
        axes.set_xticks(
            range(len(perturbations)),
            [_median([known[d, p]["acceptance_rate"] for d in depths]) for p in perturbations],
        )
        axes.set_xlabel("acceptance rate α")
    panels[0].set_yticks(
        range(len(depths)),
        [_median([known[d, p]["speed_ratio"] for p in perturbations], 1) for d in depths],
    )
    panels[0].set_ylabel("speed ratio c")
    if image is not None:
        figure.colorbar(image, ax=panels, label="speed ÷ reference", shrink=0.9)
    figure.suptitle("Controlled pairs: speedup at the best draft length γ", fontsize=11)
    return figure


def _annotate(
    axes: Axes, speeds: Sequence[Sequence[tuple[float, int | None]]], middle: float
) -> None:
    for y, row in enumerate(speeds):
        for x, (ratio, gamma) in enumerate(row):
            colour = "black" if ratio > middle else "white"
            text = f"{ratio:.2f}×" + (f"\nγ{gamma}" if gamma else "")
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)


def draw_growth(growth: Mapping[str, Any]) -> Figure:
    """Milliseconds a token against the context."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    colours = _colours(growth["points"])
    contenders = dict.fromkeys(point["contender"] for point in growth["points"])
    for contender, marker in zip(contenders, cycle(_MARKERS)):
        own = [point for point in growth["points"] if point["contender"] == contender]
        contexts = [point["context"] for point in own]
        median, least, most = (
            [1e3 * point[key] for point in own] for key in ("median", "least", "most")
        )
        colour = colours[own[0]["decoder"]]
        axes.plot(contexts, median, marker=marker, ms=4, color=colour, label=contender)
        axes.fill_between(contexts, least, most, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("context (tokens)")
    axes.set_ylabel("time per token (ms)")
    axes.set_ylim(bottom=0)
    axes.set_title("Time per token (band: least to most)", fontsize=10)
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _colours(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A colour for each decoder."""
    return dict(zip(dict.fromkeys(row["decoder"] for row in rows), cycle(_COLOURS)))


def _median(values: Sequence[float | None], digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    return f"{np.median(known):.{digits}f}" if known else "–"
