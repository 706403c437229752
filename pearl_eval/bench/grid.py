"""Contests on pairs over a grid of speed ratios and acceptance rates."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pearl_eval.bench.config import GridConfig
from pearl_eval.bench.contest import Contender, contenders
from pearl_eval.bench.table import print_table
from pearl_eval.config.schema import Names, RuntimeConfig
from pearl_eval.evaluation.plan import Plan
from pearl_eval.figures.benchmark import REFERENCE
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.speed import Ratio
from pearl_eval.results.table import number
from tasks.task import Problem


@dataclass(frozen=True)
class PlannedCell:
    """A pair of the grid: its dials, and the runs on it, planned."""

    depth: int
    perturbation: float
    entrants: Sequence[Contender]
    folder: Path

    @property
    def dials(self) -> dict[str, float]:
        return {"depth": self.depth, "perturbation": self.perturbation}


def plan(
    grid: GridConfig,
    cfg: DictConfig,
    names: Names,
    runtime: RuntimeConfig,
    problems: Sequence[Problem],
    directory: Path,
) -> list[PlannedCell]:
    """The pairs of the grid. Raises :class:`UserError` for whatever can't work.

    ``cfg`` is the configuration of a run but for its pair and decoder; folders are below
    ``directory``.
    """
    cells = []
    for depth, perturbation in product(grid.depths, grid.perturbations):
        own = copy.deepcopy(cfg)
        own.pair = grid.pair
        own.pair.depth, own.pair.perturbation = depth, perturbation
        own.task.max_new_tokens = grid.max_new_tokens
        setup = Setup.make(own.pair, runtime, uses_draft=True)
        dials = f"depth={depth},perturbation={perturbation:g}"
        folder = Path("grid", dials)
        entrants = contenders(
            grid,
            own,
            Names("", f"{names.pair} {dials}", names.task),
            directory / folder,
            lambda parts, setup=setup: Plan.of(  # type: ignore[misc]
                parts, setup, problems[: grid.prompts], grid.repeats
            ),
            [f"pair.{dial}" for dial in dials.split(",")],
        )
        cells.append(PlannedCell(depth, perturbation, entrants, folder))
    return cells


def print_cells(cells: Sequence[Mapping[str, Any]]) -> None:
    """A row for each pair: what its dials gave, and each decoder at its best draft length.

    ``cells``: ``content`` of each contest, with its dials.
    """
    first = [one for one in cells[0]["best"] if one["drafts"]] or cells[0]["best"]
    columns = [(one["decoder"], name) for name in first[0]["ratios"] for one in first]
    heads = [who if name == REFERENCE else f"{who} ÷\n{name}" for who, name in columns]
    print_table(
        "Pairs: speed ÷ reference, at the best γ (chosen on one half of the prompts, compared on"
        " the other)",
        ["depth", "perturbation", "c", "α", *heads],
        (
            [
                str(cell["depth"]),
                f"{cell['perturbation']:g}",
                f"{cell['speed_ratio']:.1f}",
                number(cell["acceptance_rate"], ".3f"),
                *(_written(cell, *column) for column in columns),
            ]
            for cell in cells
        ),
    )


def _written(cell: Mapping[str, Any], decoder: str, name: str) -> str:
    best = next(one for one in cell["best"] if one["decoder"] == decoder)
    gamma = f" γ{best['gamma']}" if best["gamma"] and name == REFERENCE else ""
    return f"{Ratio(**best['ratios'][name])}{gamma}"
