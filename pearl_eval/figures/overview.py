"""One picture of a sweep: how fast each run was, and how much of the time each model waited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pearl_eval.figures.palette import BLUE, DRAFT, IDLE, INK, TARGET, styled
from pearl_eval.results.runs import Run


@styled
def draw_overview(runs: Sequence[Run]) -> Figure:
    """Speedups with their 95 % intervals beside each model's share of time working and waiting.

    What all runs share is the title; in what they differ is told of each.
    """
    height = 1.5 + 0.62 * len(runs)
    figure = Figure(figsize=(10, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    shared, different = _facts(runs)
    _draw_speedups(left, runs, different)
    _draw_waiting(right, runs)
    figure.suptitle(", ".join(shared), fontsize=10)
    return figure


def _facts(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """How runs were made: what is the same of all, and of each what is not."""
    every = [_made(run.summary) for run in runs]
    same = [len(set(values)) == 1 for values in zip(*every, strict=True)]
    different = [not one for one in same]
    return list(compress(every[0], same)), [list(compress(own, different)) for own in every]


def _made(summary: Mapping[str, Any]) -> list[str]:
    environment = summary["environment"]
    return [
        summary["task"],
        f"{summary['pair']} pair",
        f"{summary['prompts']} prompts",
        f"{environment['dtype']} on {environment['target_device']}",
    ]


def _draw_speedups(axes: Axes, runs: Sequence[Run], different: Sequence[Sequence[str]]) -> None:
    """``different``: of each run, what is not the same of all."""
    for row, run in enumerate(runs):
        speedup, ci95 = run.summary["speedup"], run.summary["speedup_ci95"]
        if speedup is None:
            continue
        low, high = ci95 or (speedup, speedup)
        axes.barh(row, speedup, height=0.6, color=BLUE)
        axes.plot([low, high], [row, row], color=INK, linewidth=1.2)
        note = f"{speedup:.2f}× · {run.summary['tokens_per_second']:.0f} tokens/s"
        axes.annotate(
            note,
            (high, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=":")
    names = [
        "\n".join(filter(None, (run.label, ", ".join(_unsaid(run, own)))))
        for run, own in zip(runs, different, strict=True)
    ]
    axes.set_yticks(range(len(runs)), names)
    axes.set_ylim(len(runs) - 0.4, -0.6)
    axes.margins(x=0.45)
    axes.set_xlim(left=0)
    axes.set_xlabel("speedup over the paired autoregressive run\n(line: 95 % interval)")


def _unsaid(run: Run, facts: Sequence[str]) -> list[str]:
    """Those that its label does not say itself, as ``pearl task=gsm8k`` says the task."""
    task, pair = run.summary["task"], run.summary["pair"]
    said = {task: f"task={task}", f"{pair} pair": f"pair={pair}"}
    return [fact for fact in facts if said.get(fact) not in run.label.split()]


def _draw_waiting(axes: Axes, runs: Sequence[Run]) -> None:
    for row, run in enumerate(runs):
        if not run.summary["draft_forwards"]:
            axes.text(0.02, row, "target model alone", va="center", fontsize=9)
            continue
        if run.summary["wait_fraction_draft"] is None:
            axes.text(0.02, row, "nothing timed: one prompt, the warm-up", va="center", fontsize=9)
            continue
        if not run.summary["target_forwards"]:
            axes.text(0.02, row, "draft model alone", va="center", fontsize=9)
            continue
        for offset, model, colour in ((-0.16, "draft", DRAFT), (0.16, "target", TARGET)):
            waited = run.summary[f"wait_fraction_{model}"]
            axes.barh(row + offset, 1 - waited, height=0.28, color=colour)
            axes.barh(row + offset, waited, left=1 - waited, height=0.28, color=IDLE)
            text = f"{model} works {1 - waited:.0%}"
            axes.text(0.02, row + offset, text, va="center", fontsize=8, color="black")
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_xlabel("share of decoding time\n(grey: waiting for the other model)")
