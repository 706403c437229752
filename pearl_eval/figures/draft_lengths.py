"""Speedup over the draft length: measured, beside what theory expects and where its best is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pearl_eval.figures.palette import INK, looks, styled

#: How many times as long as the longest draft measured one may be to be drawn.
_FAR = 4


@styled
def draw_gamma_sweep(
    measured: Mapping[str, pd.DataFrame],
    expected: Mapping[str, tuple[Callable[[int], float], int, str]],
    title: str,
) -> Figure:
    """A curve a decoder.

    Parameters
    ----------
    measured
        By decoder, columns ``gamma``, ``speedup``, ``speedup_low``, ``speedup_high``.
    expected
        By decoder, what theory gives at a draft length (drawn as a line), the best length by it (a
        star), and from which c and α, for the legend.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    # A column a decoder, below: inside the axes it would lie on a curve sooner or later.
    legend: list[Any] = []
    look = looks(measured)
    for name, own in measured.items():
        colour, marker = look[name]
        own = own.sort_values("gamma")
        gammas = own["gamma"].to_numpy(dtype=float)
        speedups = own["speedup"].to_numpy(dtype=float)
        low, high = (own[f"speedup_{end}"].fillna(own["speedup"]) for end in ("low", "high"))
        points = axes.errorbar(
            gammas,
            speedups,
            yerr=[(speedups - low).clip(lower=0), (high - speedups).clip(lower=0)],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.4,
            capsize=2.5,
            label=f"{name}, measured (95 % interval)",
        )
        legend.append(points)
        if name not in expected:
            continue
        curve, best, said = expected[name]
        # Where drafting costs next to nothing the best length is far off, and is only named.
        near = best <= _FAR * max(gammas)
        longest = int(max(*gammas, best) if near else max(gammas)) + 1
        line = list(range(1, longest + 1))
        legend += axes.plot(
            line,
            [curve(gamma) for gamma in line],
            color=colour,
            linewidth=1,
            linestyle="--",
            label=f"{name}, theory: {said}",
        )
        legend += axes.plot(
            *([best], [curve(best)]) if near else ([], []),
            color=colour,
            marker="*",
            markersize=14,
            markeredgecolor=INK,
            linestyle="none",
            label=f"theory's best: γ = {best}",
        )
    axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("draft length γ in tokens (theory: without overhead)", fontsize=9)
    axes.set_ylabel("speedup", fontsize=9)
    axes.set_title(title, fontsize=11)
    columns = len(measured)
    figure.legend(
        handles=legend, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
    return figure
