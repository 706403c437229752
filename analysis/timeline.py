"""What each model did when, drawn from real rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pearl_eval.errors import UserError
from pearl_eval.figures.saving import check_format, save_figure
from pearl_eval.figures.timeline import find_runs, timeline
from pearl_eval.results.stretch import TOKENS

#: It is written in these formats.
_SUFFIXES = (".png", ".svg")


def write_timeline(
    directory: Sequence[Path],
    prompt: str | None = None,
    token: int | None = None,
    tokens: int = TOKENS,
    seconds: float | None = None,
    output: Path | None = None,
) -> None:
    """Draw a stretch of one prompt, of runs or of a sweep, and print the paths of the pictures.

    The stretch is as :func:`pearl_eval.figures.timeline.timeline` has it.
    """
    output = output or directory[0] / "timeline"
    check_format(output)
    output = output if output.suffix in _SUFFIXES else output.with_name(f"{output.name}.png")
    if seconds is not None and seconds <= 0:
        raise UserError(f"--seconds must be more than 0, got {seconds}")
    figure = timeline(find_runs(directory), prompt, token, tokens, seconds)
    for suffix in _SUFFIXES:
        print(save_figure(figure, output.with_suffix(suffix)))
