"""Where the files that come with the project are, in a checkout or installed from a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def config_dir() -> Path:
    """The folder of the Hydra configs."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"


def asset(name: str) -> str:
    """Path of a file or folder in the package's ``assets``; the ``asset`` resolver of configs."""
    return str(_PACKAGE / "assets" / name)
