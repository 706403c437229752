"""Runs side by side over a stretch of one prompt, chosen and drawn from their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pearl_eval.errors import UserError
from pearl_eval.figures.lanes import draw_lanes
from pearl_eval.figures.token_text import TokenText
from pearl_eval.results.records import SUMMARY
from pearl_eval.results.runs import Run, finished_runs, labelled
from pearl_eval.results.stretch import TOKENS, Stretch, choose_runs, choose_stretch, decodings


def timeline(
    runs: Sequence[Run],
    prompt: str | None = None,
    token: int | None = None,
    tokens: int = TOKENS,
    seconds: float | None = None,
) -> Figure:
    """Draw a stretch of one prompt as the runs went through it, the first on top.

    Parameters
    ----------
    runs
        Runs of one pair on one task.
    prompt
        Its ``task_id``; by default the one whose speedup in the first run is the median.
    token
        How many tokens of output come before the stretch; by default a typical one is chosen.
    tokens
        How many the first run writes in the stretch.
    seconds
        How long the stretch is instead.
    """
    shown = decodings(runs, prompt)
    text = TokenText(runs[0].directory)
    stretch = choose_stretch(shown, tokens, token, until=text.until_end(shown[0].output_ids))
    if seconds is not None:
        stretch = Stretch(stretch.token, seconds)
    summary = runs[0].summary
    where = (
        f"{shown[0].task_id}, {summary['pair']} pair on {summary['environment']['target_device']}."
        f" Time 0 is where each text had its first {stretch.token} tokens."
    )
    return draw_lanes(shown, stretch, text, where)


def find_runs(directories: Sequence[Path]) -> list[Run]:
    """The runs to draw: those of a sweep's directory that are shown by default, or those named."""
    found = [finished_runs(directory) for directory in directories]
    if len(found) == 1:
        return choose_runs(found[0])
    for directory in directories:
        if not (directory / SUMMARY).exists():
            raise UserError(f"{directory} is a sweep; give it alone, or the directories of runs")
    runs = labelled(directories)
    for run in runs:
        if odd := runs[0].differences(run):
            names = ", ".join(odd)
            raise UserError(f"{run.directory} is of another {names} than {runs[0].directory}")
    return runs
