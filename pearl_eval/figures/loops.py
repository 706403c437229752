"""How fast decoders were on texts that loop, and on others."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from pearl_eval.figures.palette import INK, looks, styled

#: Most panels beside each other.
_ACROSS = 4


@styled
def draw_loops(frame: pd.DataFrame, title: str) -> Figure:
    """A panel a decoder: the speedup of each text over the share of its tokens that repeat.

    ``frame`` has a row a text: ``label`` of its run, ``place``, which is a colour and a marker in
    all panels, ``share`` and ``speedup``.
    """
    names = list(dict.fromkeys(frame["label"]))
    across = min(_ACROSS, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(2.6 * across + 0.6, 2.5 * down + 1.0), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
    look = looks(frame["place"])
    for axes, name in zip(panels, names, strict=False):
        axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=":")
        for place, own in frame[frame["label"] == name].groupby("place", sort=False):
            colour, marker = look[str(place)]
            axes.scatter(
                own["share"], own["speedup"], s=22, color=colour, marker=marker, label=place
            )
        axes.set_title(name, fontsize=10)
    for place, axes in enumerate(panels):
        if place >= len(names):
            axes.set_visible(False)
        elif place + across >= len(names):
            # The last of its column, which need not be in the last row.
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("share that repeats", fontsize=9)
    panels[0].set_yscale("log", base=2)
    panels[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    panels[0].set_xlim(-0.03, 1.0)
    panels[0].xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    figure.supylabel("speedup of the text", fontsize=9)
    known = {
        label: handle
        for axes in panels[: len(names)]
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        known.values(), known, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    figure.suptitle(title, fontsize=11)
    return figure
