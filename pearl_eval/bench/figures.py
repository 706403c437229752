"""The pictures of a benchmark, drawn from what its ``bench.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pearl_eval.bench.config import REFERENCE
from pearl_eval.figures.palette import BLUE, looks

_MARKERS = "osD^vP*X"
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
    """Speedups with quartiles by prompt, limit 1 as a line, limit 2 as a mark on PEARL's bars."""
    rows = contest["rows"]
    look = looks(_decoder(row["contender"]) for row in rows)
    figure = Figure(figsize=(8.5, 1.9 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    reference = next(r["tokens_per_second"] for r in rows if r["contender"] == REFERENCE)
    limit_1 = contest["draft_limit"] / reference
    ends = []
    limit_2_named = False
    for place, row in enumerate(rows):
        ratio = row["ratios"][REFERENCE]
        axes.barh(place, ratio["value"], height=0.68, color=look[_decoder(row["contender"])][0])
        _, lower, _, upper, _ = ratio["spread"]
        axes.plot([lower, upper], [place, place], color="black", linewidth=1.2)
        end = written = max(upper, ratio["value"])
        if row["round_limit_share"]:
            limit = ratio["value"] / row["round_limit_share"]
            label = None if limit_2_named else "limit 2: its rounds take max(γ · t_draft, t_target)"
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
    axes.set_xlabel("speed ÷ autoregressive (bar: over all prompts, line: quartiles by prompt)")
    figure.legend(fontsize=8, loc="outside lower center", ncols=2, frameon=False)
    axes.margins(y=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{title}: c = {contest['speed_ratio']:.1f}", fontsize=10)
    return figure


def draw_grid(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel a decoder: its speedup at the best draft length, by depth and perturbation.

    Ticks show what the dials gave: medians of c over a row, of α over a column.
    """
    names = list(cells[0]["speedups"])
    depths = sorted({cell["depth"] for cell in cells})
    perturbations = sorted({cell["perturbation"] for cell in cells}, reverse=True)
    by_dials = {(cell["depth"], cell["perturbation"]): cell for cell in cells}
    top = max(cell["speedups"][name]["ratio"] for cell in cells for name in names)
    low = min(cell["speedups"][name]["ratio"] for cell in cells for name in names)
    width = 1.6 + len(names) * (0.9 + 0.72 * len(perturbations))
    figure = Figure(figsize=(max(width, 6.0), 2.0 + 0.6 * len(depths)), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    image = None
    for axes, name in zip(panels, names, strict=True):
        speeds = [[by_dials[d, p]["speedups"][name] for p in perturbations] for d in depths]
        values = np.array([[one["ratio"] for one in row] for row in speeds])
        image = axes.imshow(
            values, cmap="cividis", vmin=min(1.0, low), vmax=top, origin="lower", aspect="auto"
        )
        _annotate(axes, speeds, (min(1.0, low) + top) / 2)
        axes.set_title(name, fontsize=10)
        axes.set_xticks(
            range(len(perturbations)),
            [_median([by_dials[d, p]["acceptance_rate"] for d in depths]) for p in perturbations],
        )
        axes.set_xlabel("acceptance rate α")
    panels[0].set_yticks(
        range(len(depths)),
        [_median([by_dials[d, p]["speed_ratio"] for p in perturbations], 1) for d in depths],
    )
    panels[0].set_ylabel("speed ratio c")
    if image is not None:
        figure.colorbar(image, ax=panels, label="speed ÷ autoregressive", shrink=0.9)
    figure.suptitle("Controlled pairs: speedup at the best draft length γ", fontsize=11)
    return figure


def _annotate(axes: Axes, speeds: Sequence[Sequence[Mapping[str, Any]]], middle: float) -> None:
    for y, row in enumerate(speeds):
        for x, one in enumerate(row):
            gamma = one["contender"].split()[1:]
            colour = "black" if one["ratio"] > middle else "white"
            text = "\n".join([f"{one['ratio']:.2f}×", *gamma])
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8)


def draw_growth(growth: Mapping[str, Any]) -> Figure:
    """Milliseconds a token against the context; memory against tokens generated."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    contenders = list(dict.fromkeys(point["contender"] for point in growth["points"]))
    look = looks(map(_decoder, contenders))
    for contender, marker in zip(contenders, _MARKERS * len(contenders), strict=False):
        own = [point for point in growth["points"] if point["contender"] == contender]
        contexts = [point["context"] for point in own]
        median, least, most = (
            [1e3 * point[key] for point in own] for key in ("median", "least", "most")
        )
        colour, _ = look[_decoder(contender)]
        left.plot(contexts, median, marker=marker, ms=4, color=colour, label=contender)
        left.fill_between(contexts, least, most, color=colour, alpha=0.15, linewidth=0)
    left.set_xlabel("context (tokens)")
    left.set_ylabel("time per token (ms)")
    left.set_ylim(bottom=0)
    left.set_title("Time per token (band: least to most)", fontsize=10)
    left.legend(fontsize=8)
    tokens, memory = (np.array(column) for column in zip(*growth["memory"], strict=True))
    right.plot(tokens, memory / 2**20, color=BLUE)
    right.set_xlabel("tokens generated")
    right.set_ylabel("resident memory (MiB)")
    right.set_ylim(0, 1.15 * memory.max() / 2**20)
    right.set_title("Memory of a pearl-eval run, both processes", fontsize=10)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Growth", fontsize=11)
    return figure


def _decoder(contender: str) -> str:
    return contender.split()[0]


def _median(values: Sequence[float | None], digits: int = 2) -> str:
    known = [value for value in values if value is not None]
    return f"{np.median(known):.{digits}f}" if known else "–"
