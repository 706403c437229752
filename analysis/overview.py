"""One picture of a sweep: how fast each run was, and how much of the time each model waited."""

from __future__ import annotations

from pathlib import Path

from pearl_eval.figures.overview import draw_overview
from pearl_eval.figures.saving import save_figure
from pearl_eval.results.runs import finished_runs


def write_overview(directory: Path, output: Path | None = None) -> None:
    """Draw a sweep or a run into a picture, and print its path."""
    drawn = draw_overview(finished_runs(directory))
    print(save_figure(drawn, output or directory / "overview.png"))
