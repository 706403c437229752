"""Sources of runs: directories, or a project of W&B."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis.frames.frame import load
from analysis.frames.wandb_project import download
from pearl_eval.errors import UserError

_PREFIX = "wandb:"
#: Names the sources of notebooks, separated by spaces.
VARIABLE = "PEARL_EVAL_RUNS"


def sources() -> list[str]:
    """What ``PEARL_EVAL_RUNS`` names, else the newest sweep below ``multirun``, here or above."""
    named = os.environ.get(VARIABLE, "").split()
    if named:
        return named
    found = [*Path("multirun").glob("*/*"), *Path("../multirun").glob("*/*")]
    if not found:
        raise UserError(f"there is no sweep in multirun: name directories in {VARIABLE}")
    return [str(max(found, key=lambda path: path.stat().st_mtime))]


def load_any(sources: Iterable[str | Path]) -> pd.DataFrame:
    """The frame of runs in directories and in W&B's projects (``wandb:ENTITY/PROJECT``).

    Files of W&B's runs are downloaded into the system's temporary folder, and kept there.
    """
    directories: list[Path] = []
    for source in map(str, sources):
        if source.startswith(_PREFIX):
            project = source.removeprefix(_PREFIX)
            folder = Path(tempfile.gettempdir()) / "pearl-eval-wandb" / project
            directories += download(project, folder)
        else:
            directories.append(Path(source))
    return load(directories)
