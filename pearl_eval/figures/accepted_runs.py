"""How long runs of accepted tokens are: a panel for each decoder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pearl_eval.figures.palette import INK, looks, styled

#: Most bars; longer runs share one.
_BARS = 40


@styled
def draw_accepted_runs(
    lengths: Mapping[str, Mapping[int, int]], blocks: Mapping[str, int | None], title: str
) -> Figure:
    """A panel a decoder, on one axis of lengths; a dashed line is its mean.

    Parameters
    ----------
    lengths
        By decoder, from the top: how many runs of accepted tokens have each length.
    blocks
        By decoder, the draft length at which its runs end, a dotted line; ``None`` where they go on
        over many rounds.
    """
    longest = max(max(own, default=0) for own in lengths.values())
    width = -(-(longest + 1) // _BARS)
    edges = np.arange(0, longest + width + 1, width)
    figure = Figure(figsize=(8, 0.9 + 1.5 * len(lengths)), layout="constrained")
    panels = figure.subplots(len(lengths), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    look = looks(lengths)
    for axes, (name, own) in zip(panels, lengths.items(), strict=True):
        counts = np.array(list(own.values()), dtype=float)
        values = np.array(list(own), dtype=float)
        shares = np.histogram(values, edges, weights=counts / counts.sum())[0]
        axes.bar(edges[:-1] + (width - 1) / 2, shares, 0.85 * width, color=look[name][0])
        mean = float((values * counts).sum() / counts.sum())
        axes.axvline(mean, color=INK, linewidth=1, linestyle="--")
        said = f"{name}: mean {mean:.2f}, longest {int(values.max())}, {int(counts.sum())} runs"
        block = blocks.get(name)
        if block is not None:
            axes.axvline(block + 0.5, color=INK, linewidth=1, linestyle=":")
            said += f"; a block ends at {block}"
        axes.set_title(said, fontsize=9, loc="right")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.supylabel("share of the runs", fontsize=9)
    panels[-1].set_xlabel("length of a run of accepted tokens (dashed: the mean)", fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure
