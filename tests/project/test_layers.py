"""Imports point one way, folder by folder: see docs/architecture.md."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("decoders", "tasks", "pearl_eval", "analysis", "hydra_plugins")
#: What may not be imported at all, by package.
FORBIDDEN = {
    "decoders": {"tasks", "pearl_eval", "analysis", "hydra", "omegaconf", "wandb"},
    "tasks": {"decoders", "pearl_eval", "analysis", "hydra", "omegaconf", "wandb"},
    "pearl_eval": {"analysis"},
    "analysis": {"decoders", "tasks"},
}
#: What may be imported of ``pearl_eval`` by what makes something of finished runs.
OF_RUNS = {"errors", "own_packages", "simulation", "results", "sizes", "figures", "shell"}
#: And what a command is, so that it can be found as one.
A_COMMAND = "pearl_eval.commands.command"
#: The few modules of ``decoders`` that need no model, and so may be known to those who have none.
PURE = {
    "decoders.accepted_runs",
    "decoders.adaptive.alternatives",
    "decoders.adaptive.calibration",
    "decoders.adaptive.drafts",
    "decoders.adaptive.outlook",
    "decoders.adaptive.policy",
    "decoders.fan_out",
    "decoders.round",
    "decoders.schedule",
}


def order() -> list[str]:
    """The folders as the page lists them: each imports only those above it."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    return re.findall(r"^\| `([\w/]+?)/?` \|", page, re.MULTILINE)


def modules() -> dict[str, Path]:
    paths = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
    return {name_of(path): path for path in paths}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def folder_of(module: str) -> str:
    """The folder that a module is in, as the page names it."""
    path = MODULES[module].relative_to(ROOT).parent.as_posix()
    while path and path not in ORDER:
        path = path.rpartition("/")[0]
    return path


@functools.cache
def imports(path: Path) -> tuple[str, ...]:
    """The modules of ours that a file imports, wherever in it, also for its types alone."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                found = whole if whole in MODULES else node.module
                if found in MODULES:
                    yield found
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)


MODULES = modules()
ORDER = order()


def packages(source: str) -> set[str]:
    """The top-level packages that a source imports."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_the_page_names_every_folder() -> None:
    there = {
        path.parent.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
        if path.stem != "__init__"
    }
    assert there - set(ORDER) <= {"tasks/sandbox/inside"}
    assert set(ORDER) <= there | {"pearl_eval/assets"}
    assert len(ORDER) == len(set(ORDER)) > 20


@pytest.mark.parametrize("module", MODULES)
def test_a_folder_imports_only_those_above_it(module: str) -> None:
    own = folder_of(module)
    below = set(ORDER[ORDER.index(own) + 1 :]) if own in ORDER else set()
    wrong = sorted(one for one in imports(MODULES[module]) if folder_of(one) in below)
    assert not wrong, f"{module}, in {own}, imports {wrong}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    reached = {name: set(imports(path)) for name, path in MODULES.items()}
    changed = True
    while changed:
        changed = False
        for known in reached.values():
            more = set().union(*(reached[one] for one in known)) - known
            known |= more
            changed |= bool(more)
    assert sorted(name for name, known in reached.items() if name in known) == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_imports_nothing_it_should_not_know(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        crossing = packages(path.read_text()) & FORBIDDEN[package]
        assert not crossing, f"{path} imports {crossing}"


def test_analysis_knows_only_what_runs_left_and_what_draws_and_predicts() -> None:
    for path in (ROOT / "analysis").rglob("*.py"):
        for module in imports(path):
            top, _, rest = module.partition(".")
            known = top == "analysis" or rest.split(".")[0] in OF_RUNS or module == A_COMMAND
            assert known, (path, module)


@pytest.mark.parametrize("folder", ["pearl_eval/simulation", "pearl_eval/results"])
def test_what_reads_runs_or_predicts_them_knows_no_model(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert not packages(path.read_text()) & {"torch", "transformers", "tasks"}, path
        ours = {one for one in imports(path) if one.startswith("decoders")}
        assert ours <= PURE, (path, ours - PURE)


@pytest.mark.parametrize("module", sorted(PURE & set(MODULES)))
def test_what_needs_no_model_knows_none(module: str) -> None:
    assert not packages(MODULES[module].read_text()) & {"torch", "transformers"}


def test_a_crossing_import_is_found() -> None:
    assert "pearl_eval" in packages("def f():\n    from pearl_eval.cli import main")
