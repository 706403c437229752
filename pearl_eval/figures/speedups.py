"""Speedups of many runs with their intervals, and how long models waited for each other."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pearl_eval.figures.palette import DRAFT, INK, TARGET, looks, styled


@styled
def draw_speedups(frame: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Bars of speedup with 95 % intervals, a group for each pair and task.

    Parameters
    ----------
    frame
        Columns ``label``, ``decoder``, ``pair``, ``task``, ``speedup``, ``speedup_low``,
        ``speedup_high``, ``lossless``: a row a run, all under the same conditions. Outputs that are
        not the target's own are hatched.
    """
    groups = list(frame.groupby(["pair", "task"], sort=False))
    rows = len(frame) + 0.8 * len(groups)
    figure = Figure(figsize=(8, 1.3 + 0.3 * rows), layout="constrained")
    axes = figure.subplots()
    place, ticks, names = 0.0, [], []
    own = looks(frame["decoder"])
    for (pair, task), group in groups:
        axes.text(
            0,
            place,
            f"{task}, {pair} pair",
            fontsize=9,
            weight="bold",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
        for _, run in group.iterrows():
            place += 1
            _bar(axes, place, run, own[run["decoder"]][0])
            ticks.append(place)
            names.append(str(run["label"]))
        place += 1.3
    axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(ticks, names, fontsize=9)
    axes.set_ylim(place - 0.6, -0.7)
    axes.set_xlim(0, 1.35 * max(1.0, float(frame["speedup_high"].fillna(frame["speedup"]).max())))
    below = "speedup over the paired autoregressive reference (line: 95 % interval)"
    axes.set_xlabel("\n".join(filter(None, (below, note))), fontsize=9)
    axes.set_title(title, fontsize=11)
    return figure


def _bar(axes: Axes, place: float, run: pd.Series, colour: str) -> None:
    hatch = None if run["lossless"] else "////"
    if pd.isna(run["speedup"]):
        return
    axes.barh(place, run["speedup"], 0.72, color=colour, hatch=hatch, edgecolor="white")
    low, high = run["speedup_low"], run["speedup_high"]
    end = run["speedup"]
    if pd.notna(low):
        axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
        end = high
    said = f"{run['speedup']:.2f}×" + ("" if run["lossless"] else ", not the target's output")
    axes.annotate(
        said,
        (end, place),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )


@styled
def draw_waiting(frame: pd.DataFrame, title: str) -> Figure:
    """What share of decoding time each model waited for the other.

    ``frame`` has ``label``, ``wait_fraction_draft`` and ``wait_fraction_target`` of runs with two
    models.
    """
    figure = Figure(figsize=(8, 1.6 + 0.5 * len(frame)), layout="constrained")
    axes = figure.subplots()
    for offset, model, colour in ((-0.19, "draft", DRAFT), (0.19, "target", TARGET)):
        for row, waited in enumerate(frame[f"wait_fraction_{model}"]):
            name = f"the {model} model waits" if row == 0 else None
            axes.barh(row + offset, waited, 0.34, color=colour, label=name)
            axes.text(waited + 0.008, row + offset, f"{waited:.0%}", va="center", fontsize=8)
    axes.set_yticks(range(len(frame)), list(frame["label"]), fontsize=9)
    axes.set_ylim(len(frame) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of decoding time", fontsize=9)
    axes.set_title(title, fontsize=11)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    return figure
