"""How long the draft model and the target agree, beside what one chance for all tokens gives."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pearl_eval.figures.palette import looks, styled
from pearl_eval.results.intervals import wilson

#: What was judged less often than this, and than this share of runs, says next to nothing.
_FEWEST, _LEAST = 20, 0.25
#: Longer names stand below each other.
_LONG = 45


@styled
def draw_agreement(found: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Shares of runs of accepted tokens by their length, and what became of the token after.

    Parameters
    ----------
    found
        By what it is called in the legend, what ``agreement`` gives of a run.
    title
        Above it all.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    shares, chances = figure.subplots(1, 2)
    look = looks(found)
    for number, (name, whole) in enumerate(found.items()):
        colour, marker = look[name]
        rate = whole["went_on"].sum() / whole["reached"].sum()
        runs = int(whole["reached"].iloc[0])
        own = whole[whole["reached"] >= min(_FEWEST, _LEAST * runs)]
        style = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.4}
        said = f"{name}: α = {rate:.2f}, {runs} runs"
        shares.plot(own["accepted"], own["share"], label=said, **style)
        shares.plot(
            own["accepted"],
            rate ** own["accepted"],
            color=colour,
            linewidth=1,
            linestyle="--",
            label="dashed: geometric, of the same α" if number == len(found) - 1 else None,
        )
        ends = [wilson(one.chance, one.reached) for one in own.itertuples()]
        # Side by side, so that intervals do not cover each other.
        places = own["accepted"] + 0.6 * (number + 0.5) / len(found) - 0.3
        below = [max(0.0, one - low) for one, (low, _) in zip(own["chance"], ends, strict=True)]
        above = [max(0.0, high - one) for one, (_, high) in zip(own["chance"], ends, strict=True)]
        chances.errorbar(places, own["chance"], yerr=[below, above], capsize=2, **style)
        chances.axhline(rate, color=colour, linewidth=1, linestyle="--")
    shares.set_yscale("log")
    shares.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    shares.set_title("runs of accepted tokens that are at least so long", fontsize=10)
    shares.set_ylabel("share of the runs")
    shares.set_xlabel("accepted tokens in a row")
    chances.set_title("the token after them is accepted, too", fontsize=10)
    chances.set_ylabel("share of the tokens (95 % interval)")
    chances.set_xlabel("accepted tokens in a row")
    chances.set_ylim(0, 1.05)
    for axes in (shares, chances):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = shares.get_legend_handles_labels()
    ncols = 1 if max(map(len, labels)) > _LONG else 2
    figure.legend(
        handles, labels, loc="outside lower center", ncols=ncols, frameon=False, fontsize=9
    )
    figure.suptitle(title, fontsize=11)
    return figure
