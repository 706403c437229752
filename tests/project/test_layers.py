"""Imports point one way: see the architecture in docs/."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = {
    "decoders": {"tasks", "pearl_eval", "analysis", "hydra", "omegaconf", "wandb"},
    "tasks": {"decoders", "pearl_eval", "analysis", "hydra", "omegaconf", "wandb"},
    "pearl_eval": {"analysis"},
    "analysis": {"decoders", "tasks"},
}
#: All that analysis may know of the rest: what the files of a run hold, and what follows from that.
SCHEMA = {
    "pearl_eval.results.records",
    "pearl_eval.results.traces",
    "pearl_eval.results.runs",
    "pearl_eval.results.intervals",
    "pearl_eval.results.conditions",
    "pearl_eval.results.labels",
}
#: And what predicts without a model: no file of a run, but no part of running one either.
PREDICTING = {"pearl_eval.simulation", "pearl_eval.sizes.model_shapes", "pearl_eval.errors"}
#: And a command's streams, which know nothing of us.
SHELL = {"pearl_eval.shell.streams"}
#: The one definition of decoders that the simulator counts by, too.
ACCEPTED_RUNS = "decoders.accepted_runs"
#: And what draws.
FIGURES = ("pearl_eval.figures", "analysis.timeline", "pearl_eval.results.stretch")


def imported_packages(source: str) -> set[str]:
    packages = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            packages |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.split(".")[0])
    return packages


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_nothing_above_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        crossing = imported_packages(path.read_text()) & FORBIDDEN[package]
        assert not crossing, f"{path} imports {crossing}"


def test_analysis_knows_only_the_record_schema() -> None:
    for path in (ROOT / "analysis").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pearl_eval"):
                known = {*SCHEMA, *PREDICTING, *SHELL}
                assert node.module in known or node.module.startswith(FIGURES), path


def test_the_simulator_knows_no_model() -> None:
    for path in (ROOT / "pearl_eval" / "simulation").rglob("*.py"):
        imports = re.findall(r"^(?:from|import) (\S+)", path.read_text(), re.MULTILINE)
        standard = {"numpy", "scipy", *sys.stdlib_module_names}
        for name in imports:
            known = name.startswith("pearl_eval.simulation") or name == ACCEPTED_RUNS
            assert known or name.split(".")[0] in standard, path


def test_what_the_simulator_shares_with_decoders_knows_no_model_either() -> None:
    path = ROOT / f"{ACCEPTED_RUNS.replace('.', '/')}.py"
    assert imported_packages(path.read_text()) <= sys.stdlib_module_names


@pytest.mark.parametrize("module", ["traces", "runs", "stretch", "figures"])
def test_what_reads_runs_knows_only_their_files(module: str) -> None:
    known = {*SCHEMA, "pearl_eval.results.stretch", "pearl_eval.errors"}
    place = ROOT / "pearl_eval" / module
    for path in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
        ours = re.findall(
            r"(?:from|import) ((?:pearl_eval|decoders|tasks)[.\w]*)", path.read_text()
        )
        assert all(name in known or name.startswith(FIGURES) for name in ours), path


def test_a_crossing_import_is_found() -> None:
    assert "pearl_eval" in imported_packages(
        "def f():\n    from pearl_eval.commands.run import main"
    )
