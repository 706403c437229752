"""The cells of a benchmark's grid: what was measured in each, and what a simulation needs of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from pearl_eval.errors import UserError
from pearl_eval.results.about import about_decoder
from pearl_eval.results.records import read_json
from pearl_eval.simulation import (
    Acceptance,
    Alone,
    Costs,
    ForwardTimes,
    Schedule,
    Simulation,
    Trace,
    read_schedule,
)

REFERENCE = "autoregressive"
_AGAIN = f"{REFERENCE} again"  # the same once more, in turn with the others


@dataclass(frozen=True)
class Cell:
    """One pair. ``measured``: each contender's speedup, the geometric mean over the prompts of the
    ratio of its median times: a text of some tens of milliseconds is too short for each repeat to
    count. The reference decodes each twice as often, as two contenders; ``same`` is the ratio of
    these: 1 but for what the machine did meanwhile. ``schedules``: which model of a contender runs
    when. ``best``: each decoder's speedup at its best draft length, which the benchmark chose on
    other prompts than it is of."""

    depth: int
    perturbation: float
    acceptance_rate: float | None
    limit: int
    prompts: tuple[int, ...]
    forwards: ForwardTimes
    trace: Trace
    measured: dict[str, float]
    same: float
    schedules: dict[str, Schedule]
    best: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Cell:
        """A cell of ``bench.json``. ValueError for one of an older version."""
        seconds: dict[str, dict[int, list[float]]] = {}
        for one in content["measurements"]:
            prompts = seconds.setdefault(one["contender"], {})
            prompts.setdefault(one["prompt"], []).append(one["seconds"] / one["tokens"])

        def typical(*labels: str) -> list[float]:
            """Of each prompt."""
            return [
                statistics.median(one for label in labels for one in seconds[label][prompt])
                for prompt in seconds[REFERENCE]
            ]

        reference = typical(REFERENCE, _AGAIN)
        measured = {
            label: _ratio(reference, typical(label))
            for label in seconds
            if label not in (REFERENCE, _AGAIN)
        }
        same = _ratio(typical(REFERENCE), typical(_AGAIN))
        said = content.get("schedules") or {label: _unsaid(label) for label in measured}
        for label in measured:
            if not said.get(label):
                raise NotSimulated(label)
        traces = tuple(content.get("traces", ()))
        if not traces:
            raise ValueError("bench.json has no acceptance traces: it is of an older version")
        return cls(
            content["depth"],
            content["perturbation"],
            content["acceptance_rate"],
            content["measurements"][0]["tokens"],
            tuple(one["prompt_length"] for one in content["forwards"][: len(traces)]),
            ForwardTimes.from_bench(content["forwards"]),
            Trace(traces),
            measured,
            same,
            {label: read_schedule(said[label]) for label in measured},
            {name: one["ratio"] for name, one in content.get("speedups", {}).items()},
        )

    @property
    def speed_ratio(self) -> float:
        """c."""
        return self.forwards.speed_ratio

    def predicted(self, label: str, costs: Costs, acceptance: Acceptance | None = None) -> float:
        """The speedup that a simulation of the same prompts gives, as ``measured`` is defined.

        ``acceptance`` instead of the cell's own.
        """
        reference, own = (
            Simulation(
                one, self.forwards, acceptance or self.trace, costs, self.limit, self.prompts
            )
            .run()
            .text_seconds
            for one in (Alone(), self.schedules[label])
        )
        return _ratio(reference, own)


class NotSimulated(ValueError):
    """A grid has a decoder whose rounds can't be simulated."""


def _unsaid(label: str) -> dict[str, Any] | None:
    """The schedule of a contender in a file of before it was said there."""
    decoder, _, gamma = label.partition(" γ=")
    said: dict[str, Any] | None = about_decoder(decoder, {"gamma": int(gamma)} if gamma else {})[
        "schedule"
    ]
    return said


def _ratio(reference: Sequence[float], own: Sequence[float]) -> float:
    return geometric_mean(a / b for a, b in zip(reference, own, strict=True))


def read_grid(directory: Path) -> list[Cell]:
    """The cells of the grid that ``pearl-eval bench`` measured into a directory.

    Raises :class:`UserError` where there are none, or a decoder is not simulated.
    """
    path = directory / "bench.json"
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run pearl-eval bench grid=controlled") from None
    if not content.get("grid"):
        raise UserError(f"{path}: no grid was measured; run pearl-eval bench grid=controlled")
    try:
        return [Cell.of(cell) for cell in content["grid"]]
    except NotSimulated as error:
        raise UserError(
            f"{path}: {error} is not simulated, so it can't be predicted; run a grid without it"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; run it again") from None


def halves(cells: Sequence[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Every other cell, as the fields of a chessboard are black and white."""
    depths = sorted({cell.depth for cell in cells})
    perturbations = sorted({cell.perturbation for cell in cells})
    sides: tuple[list[Cell], list[Cell]] = ([], [])
    for cell in cells:
        place = depths.index(cell.depth) + perturbations.index(cell.perturbation)
        sides[place % 2].append(cell)
    return sides
