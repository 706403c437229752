"""Continuing a run or a sweep by its folder alone: what its command line was."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pearl_eval.errors import UserError
from pearl_eval.results.records import SWEEP, read_yaml
from pearl_eval.results.version_0 import upgrade_override

_ARGUMENT = "resume="
_HYDRA = ".hydra"
#: Settings that change nothing of what is measured: whoever continues may say otherwise.
FREE = (
    "tracking.",
    "runtime.start_timeout",
    "runtime.answer_timeout",
    "runtime.idle_timeout",
    "runtime.share_devices",
    "runtime.devices_timeout",
    "reference.wait_timeout",
)
#: Hydra's flags that are followed by a value of theirs.
_WITH_VALUE = {"--cfg", "-c", "--package", "-p", "--config-name", "-cn"} | {
    *("--config-path", "-cp", "--config-dir", "-cd"),
}
_MAY_HAVE_ONE = {"--info", "-i"}
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
        where = [f"hydra.sweep.dir={quoted(folder)}", "hydra.mode=MULTIRUN"]
        started = Started.read(folder / SWEEP)
    elif (folder / _HYDRA / "hydra.yaml").is_file():
        where = [f"hydra.run.dir={quoted(folder)}", "hydra.mode=RUN"]
        started = Started.read(folder / _HYDRA / "hydra.yaml")
    else:
        raise UserError(f"resume={folder}: there is no run and no sweep there")
    if not any(one.startswith(("--config-dir", "-cd")) for one in others):
        others += [f"--config-dir={path}" for path in started.config_dirs]
    # Paths of its data and models may be relative to where it was started.
    os.chdir(started.cwd)
    own = [one for one in started.hydra_overrides if not one.startswith(_OURS)]
    return [*own, *started.overrides, *others, *where]


@dataclass(frozen=True)
class Started:
    """How a run or a sweep was started, as Hydra left it in a file."""

    cwd: str
    overrides: list[str]
    hydra_overrides: list[str]
    config_dirs: list[str]

    @classmethod
    def read(cls, path: Path) -> Started:
        """From ``multirun.yaml`` or ``.hydra/hydra.yaml``; :class:`UserError` for a damaged one."""
        content = read_yaml(path)
        try:
            hydra = content["hydra"]
            asked, runtime = hydra["overrides"], hydra["runtime"]
            sources = runtime["config_sources"]
            dirs = [one["path"] for one in sources if one["provider"] == "command-line"]
            overrides = [one for one in map(upgrade_override, asked["task"]) if one]
            return cls(runtime["cwd"], overrides, list(asked["hydra"]), dirs)
        except (LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged: it lacks {error}") from error


def parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags of Hydra's, with their values, and overrides, in whatever order they were given."""
    flags: list[str] = []
    overrides: list[str] = []
    left = list(arguments)
    while left:
        one = left.pop(0)
        if not one.startswith("-"):
            overrides.append(one)
            continue
        flags.append(one)
        if left and (one in _WITH_VALUE or (one in _MAY_HAVE_ONE and "=" not in left[0])):
            flags.append(left.pop(0))
    return flags, overrides


def quoted(path: Path) -> str:
    """A path as a value of Hydra's command line."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
