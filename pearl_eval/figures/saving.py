"""Pictures as files."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from pearl_eval.errors import UserError

#: Dots per inch of a picture that is made of dots.
_DPI = 150


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a picture, in the format that its name ends by, else as PNG; the file's path.

    :class:`UserError` for a format that there is not.
    """
    check_format(path)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    figure.savefig(path, dpi=_DPI)
    return path


def check_format(path: Path) -> None:
    """:class:`UserError` where a picture can't be written under such a name."""
    known = sorted(Figure().canvas.get_supported_filetypes())
    if not path.name:
        raise UserError(f"{path} ends in no file name: expected the name of a picture")
    if path.suffix and path.suffix[1:].lower() not in known:
        raise UserError(
            f"{path}: a picture's name ends by its format, one of {', '.join(known)}, not by"
            f" {path.suffix}"
        )
