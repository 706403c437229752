"""Continuing a run or a sweep by its folder alone: what its command line was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pearl_eval.errors import UserError

_ARGUMENT = "resume="
#: What Hydra leaves in the folder of a sweep.
SWEEP = "multirun.yaml"
_HYDRA = ".hydra"
#: What Hydra is told by us here, not by what the run was started with.
_OURS = ("hydra.run.dir=", "hydra.sweep.dir=", "hydra.mode=")


def resumed(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments; those of the run or sweep in a folder, where ``resume`` names one.

    Whatever stands beside ``resume=DIR`` is added to them: it may only say what is free to change,
    since another run is refused.
    """
    folders = [one.removeprefix(_ARGUMENT) for one in arguments if one.startswith(_ARGUMENT)]
    if not folders:
        return list(arguments)
    if len(folders) > 1:
        raise UserError("resume= is given twice; continue one run or sweep at a time")
    folder = Path(folders[0]).expanduser().absolute()
    others = [one for one in arguments if not one.startswith(_ARGUMENT)]
    if (folder / SWEEP).is_file():
        where = [f"hydra.sweep.dir={_quoted(folder)}", "hydra.mode=MULTIRUN"]
        config = _load(folder / SWEEP)
    elif (folder / _HYDRA / "hydra.yaml").is_file():
        where = [f"hydra.run.dir={_quoted(folder)}", "hydra.mode=RUN"]
        config = _load(folder / _HYDRA / "hydra.yaml")
    else:
        raise UserError(f"resume={folder}: there is no run and no sweep there")
    hydra = config["hydra"]
    # Paths of its data and models may be relative to where it was started.
    os.chdir(hydra["runtime"]["cwd"])
    own = [one for one in hydra["overrides"]["hydra"] if not one.startswith(_OURS)]
    return [*own, *hydra["overrides"]["task"], *others, *where]


def family_of(directory: Path) -> Path:
    """The folder of the sweep that a run's folder is part of, else the run's own."""
    parent = directory.parent
    return parent if (parent / SWEEP).is_file() else directory


def _load(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:
        raise UserError(f"{path} can't be read: {' '.join(str(error).split())}") from error


def _quoted(path: Path) -> str:
    """A path as a value of Hydra's command line."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
