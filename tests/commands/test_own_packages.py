"""Folders and files of a user's own that are called as our packages are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pearl_eval import own_packages

ROOT = Path(own_packages.__file__).resolve().parent.parent


@pytest.fixture
def shadows(tmp_path: Path) -> Path:
    """A folder with a package, a module, and a folder of our packages' names."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").touch()
    (tmp_path / "analysis.py").write_text("MINE = True\n")
    (tmp_path / "decoders").mkdir()
    return tmp_path


def python(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f".:{ROOT}"},
        capture_output=True,
        text=True,
    )


def test_they_do_no_harm(shadows: Path) -> None:
    names = ", ".join(own_packages.NAMES)
    done = python(shadows, f"import pearl_eval, {names}\nfor one in {names}: print(one.__file__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(ROOT / one / "__init__.py") for one in own_packages.NAMES]


@pytest.mark.parametrize("name", ["tasks", "analysis", "decoders"])
def test_one_that_is_imported_already_is_named(shadows: Path, name: str) -> None:
    done = python(shadows, f"import {name}\nimport pearl_eval")
    # A folder without __init__.py gives way to a package anywhere on the path.
    ours = name == "decoders"
    assert (done.returncode == 0) == ours
    if not ours:
        last = done.stderr.splitlines()[-1]
        assert f"is imported as {name}, which is a package of pearl_eval's" in last
        assert str(shadows / name) in last


def test_others_are_found_as_ever(shadows: Path) -> None:
    finder = own_packages.OwnPackages()
    assert finder.find_spec("json", None) is None
    assert finder.find_spec("tasks.task", None) is None
