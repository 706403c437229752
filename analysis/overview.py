"""One picture of a sweep: how fast each run was, and how much of the time each model waited."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pearl_eval.records import SUMMARY, launch_order

# Okabe and Ito's colours, which stay apart for the colour-blind and in grey.
_SPEED, _DRAFT, _TARGET, _WAIT = "#0072B2", "#E69F00", "#009E73", "#DDDDDD"


@dataclass(frozen=True)
class Run:
    """A finished run: its label in the picture, and its ``summary.json``."""

    label: str
    summary: dict[str, Any]


def read_runs(directory: Path) -> list[Run]:
    """The finished runs of a sweep's directory, or the one of a run's own, in launch order."""
    files = sorted(directory.glob(f"*/{SUMMARY}"), key=lambda file: launch_order(file.parent))
    if not files and (directory / SUMMARY).exists():
        files = [directory / SUMMARY]
    summaries = [json.loads(file.read_text()) for file in files]
    names = [summary["decoder"] for summary in summaries]
    return [
        Run(name if names.count(name) == 1 else f"{name} ({file.parent.name})", summary)
        for name, file, summary in zip(names, files, summaries, strict=True)
    ]


def draw_overview(runs: Sequence[Run]) -> Figure:
    """Speedups with their 95 % intervals beside each model's share of time working and waiting."""
    height = 1.5 + 0.62 * len(runs)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, height), sharey=True, layout="constrained", width_ratios=(3, 2)
    )
    _draw_speedups(left, runs)
    _draw_waiting(right, runs)
    first = runs[0].summary
    figure.suptitle(
        f"{first['task']}, {first['pair']} pair, {first['prompts']} prompts,"
        f" {first['environment']['dtype']} on {first['environment']['target_device']}",
        fontsize=10,
    )
    return figure


def _draw_speedups(axes: Axes, runs: Sequence[Run]) -> None:
    for row, run in enumerate(runs):
        speedup, ci95 = run.summary["speedup"], run.summary["speedup_ci95"]
        if speedup is None:
            continue
        low, high = ci95 or (speedup, speedup)
        axes.barh(row, speedup, height=0.6, color=_SPEED)
        axes.plot([low, high], [row, row], color="black", linewidth=1.2)
        note = f"  {speedup:.2f}×   {run.summary['tokens_per_second']:.0f} tokens/s"
        axes.text(high, row, note, va="center", fontsize=9)
    axes.axvline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(runs)), [run.label for run in runs])
    axes.invert_yaxis()
    axes.margins(x=0.45)
    axes.set_xlim(left=0)
    axes.set_xlabel("speedup over the paired autoregressive run\n(line: 95 % interval)")


def _draw_waiting(axes: Axes, runs: Sequence[Run]) -> None:
    for row, run in enumerate(runs):
        if not run.summary["draft_forwards"] or run.summary["wait_fraction_draft"] is None:
            axes.text(0.02, row, "target model alone", va="center", fontsize=9)
            continue
        for offset, model, colour in ((-0.16, "draft", _DRAFT), (0.16, "target", _TARGET)):
            waited = run.summary[f"wait_fraction_{model}"]
            axes.barh(row + offset, 1 - waited, height=0.28, color=colour)
            axes.barh(row + offset, waited, left=1 - waited, height=0.28, color=_WAIT)
            text = f"{model} works {1 - waited:.0%}"
            axes.text(0.02, row + offset, text, va="center", fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_xlabel("share of decoding time\n(grey: waiting for the other model)")


def main() -> None:
    """``python -m analysis.overview DIRECTORY``: draw a sweep or a run into a PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="a sweep's directory, or a run's")
    parser.add_argument("-o", "--output", type=Path, help="default: overview.png in DIRECTORY")
    arguments = parser.parse_args()
    runs = read_runs(arguments.directory)
    if not runs:
        parser.error(f"{arguments.directory}: no finished runs (no {SUMMARY}) there")
    output = arguments.output or arguments.directory / "overview.png"
    draw_overview(runs).savefig(output, dpi=150)
    print(output)


if __name__ == "__main__":
    main()
