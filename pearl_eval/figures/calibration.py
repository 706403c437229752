"""Whether tokens were accepted as often as they were thought to be."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from pearl_eval.figures.palette import INK, looks, styled
from pearl_eval.results.intervals import wilson
from pearl_eval.results.runs import Run


def foreseeing_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs of decoders that foresee what becomes of drafted tokens."""
    return [run for run in runs if run.summary["traces"].get("by_chance")]


@styled
def draw_calibration(runs: Sequence[Run], title: str = "") -> Figure:
    """The share of drafted tokens that were accepted, by the chance that was foreseen.

    Parameters
    ----------
    runs
        Those of ``foreseeing_runs``.
    title
        Above it.
    """
    figure = Figure(figsize=(5.4, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="as foreseen")
    look = looks(run.label for run in runs)
    for run in runs:
        colour, marker = look[run.label]
        rows = run.summary["traces"]["by_chance"]
        shares = [row["accepted"] / row["judged"] for row in rows]
        ends = [wilson(share, row["judged"]) for share, row in zip(shares, rows, strict=True)]
        axes.errorbar(
            [row["predicted"] for row in rows],
            shares,
            yerr=[
                [max(0.0, share - low) for share, (low, _) in zip(shares, ends, strict=True)],
                [max(0.0, high - share) for share, (_, high) in zip(shares, ends, strict=True)],
            ],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.2,
            capsize=2.5,
            label=run.label,
        )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.05)
    axes.set_aspect("equal")
    axes.set_xlabel("chance of a drafted token that was foreseen")
    axes.set_ylabel("share that was accepted (95 % interval)")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    if title:
        axes.set_title(title, fontsize=11)
    return figure
