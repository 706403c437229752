"""What the notebooks show: tables and figures with their captions, or why there is none."""

from __future__ import annotations

import io
from collections.abc import Callable

import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from analysis.frames.frame import sections
from analysis.frames.table import NoRuns, Table
from analysis.paper.reported import with_reported

#: Dots per inch: fine enough to read, small enough to keep.
_DPI = 80


def show_table(
    make: Callable[[pd.DataFrame], Table], frame: pd.DataFrame, reported: bool = False
) -> None:
    """A table of these runs; a line where they give none.

    ``reported``: with what the authors of PEARL report of the same pairs and tasks.
    """
    try:
        table = make(frame)
        display(Markdown((with_reported(table, frame) if reported else table).markdown()))
    except NoRuns as error:
        display(Markdown(f"*No such table: {error}.*"))


def show_figure(draw: Callable[[pd.DataFrame], Figure], frame: pd.DataFrame, caption: str) -> None:
    """A figure of these runs, one for each set of conditions; a line where they give none."""
    reasons = []
    drawn = 0
    for name, part in sections(frame):
        try:
            figure = draw(part)
        except NoRuns as error:
            reasons.append(str(error))
            continue
        drawn += 1
        show_drawn(figure, f"{caption} ({name})" if name else caption)
    if not drawn:
        display(Markdown(f"*No such figure: {reasons[0]}.*"))


def show_drawn(figure: Figure, caption: str) -> None:
    """A figure with its caption below."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    display(Image(data=buffer.getvalue()))
    display(Markdown(f"*{caption}*"))
