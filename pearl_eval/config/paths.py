"""Where the files that come with the project are, in a checkout or installed from a wheel."""

from __future__ import annotations

from pathlib import Path

import tasks

_PACKAGE = Path(__file__).resolve().parent.parent


def config_dir() -> Path:
    """The folder of the Hydra configs."""
    installed = _PACKAGE / "conf"
    return installed if installed.is_dir() else _PACKAGE.parent / "conf"


def task_data(name: str) -> str:
    """Path of a file that comes with the tasks; the ``task_data`` resolver of configs."""
    return str(Path(tasks.__file__).parent / "data" / name)


def asset(name: str) -> str:
    """Path of a file or folder in the package's ``assets``; the ``asset`` resolver of configs."""
    return str(_PACKAGE / "assets" / name)
