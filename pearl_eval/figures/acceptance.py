"""How drafted tokens fared: by their place in a block and in the text, and in runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pearl_eval.figures.palette import looks, styled
from pearl_eval.results.runs import Run
from pearl_eval.results.traces import TEXT_STEP

#: Most runs.
_MOST = 6
#: A place in a block that was judged less often than this, and than this share of the first place,
#: says next to nothing; nor does a length that so small a share of runs have.
_FEWEST, _LEAST, _RAREST = 20, 0.05, 0.01


def judging_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs in which drafted tokens were judged; of many, the fastest of each decoder."""
    judging = [run for run in runs if run.summary["traces"]["by_block_position"]]
    if len(judging) > _MOST:
        by_speed = sorted(judging, key=lambda run: run.summary["tokens_per_second"] or 0.0)
        judging = list({run.summary["decoder"]: run for run in by_speed}.values())
    return judging[-_MOST:]


@styled
def draw_acceptance(runs: Sequence[Run], title: str = "") -> Figure:
    """Conditional and joint acceptance in a block, acceptance in the text, accepted runs' lengths.

    Parameters
    ----------
    runs
        Runs in which drafted tokens were judged.
    title
        Above it all.
    """
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    (conditional, joint), (text, lengths) = figure.subplots(2, 2)
    look = looks(run.label for run in runs)
    for run in runs:
        traces = run.summary["traces"]
        colour, marker = look[run.label]
        style = {
            "color": colour,
            "marker": marker,
            "markersize": 4,
            "label": run.label,
        }
        block = _often_judged(traces["by_block_position"])
        for axes, name in ((conditional, "conditional"), (joint, "joint")):
            axes.plot([one["position"] for one in block], [one[name] for one in block], **style)
        pieces = traces["by_text_position"]
        middles = [one["start"] + TEXT_STEP / 2 for one in pieces]
        text.plot(middles, [one["rate"] for one in pieces], **style)
        lengths.plot(*_at_least(traces["accepted_run_lengths"] or {}), **style)
    for axes, what, across in (
        (conditional, "a drafted token is accepted, if all before it were", "place in the block"),
        (joint, "all drafted tokens up to this one are accepted", "place in the block"),
        (text, "acceptance rate along the text", f"tokens of output, {TEXT_STEP} together"),
    ):
        axes.set_title(what, fontsize=10)
        axes.set_ylim(0, 1.05)
        axes.set_ylabel("share of the drafted tokens")
        axes.set_xlabel(across)
    # However short the texts: one piece is a point in its middle.
    text.set_xlim(0, max(text.dataLim.x1 + TEXT_STEP / 2, TEXT_STEP))
    for axes in (conditional, joint, text, lengths):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    lengths.set_title("runs of accepted tokens that are at least so long", fontsize=10)
    lengths.set_ylim(0, 1.05)
    lengths.set_xlabel("length in tokens")
    lengths.set_ylabel("share of the runs")
    handles, labels = conditional.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _often_judged(block: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The places of a block that were judged often enough to be drawn."""
    enough = min(_FEWEST, _LEAST * block[0]["judged"])
    return [one for one in block if one["judged"] >= enough]


def _at_least(counts: Mapping[str, int]) -> tuple[list[int], list[float]]:
    """Lengths from 0 on, and the share of runs of accepted tokens that are at least so long."""
    known = {int(length): count for length, count in counts.items()}
    whole = sum(known.values())
    shares = [
        sum(count for one, count in known.items() if one >= length) / whole
        for length in range(max(known, default=-1) + 1)
    ]
    shares = [share for share in shares if share >= _RAREST]
    return list(range(len(shares))), shares
