"""The cells of a benchmark's grid: what was measured in each, and what a simulation needs of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import pandas as pd

from pearl_eval.errors import UserError
from pearl_eval.results.records import BENCH, read_json
from pearl_eval.results.runs import Run, finished_runs
from pearl_eval.results.traces import KEY, Traces
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
from pearl_eval.simulation.acceptance import merge

#: How a trace says what became of a drafted token that was judged.
_MARKS = {"accepted": "1", "rejected": "0"}


@dataclass(frozen=True)
class MeasuredCell:
    """What was measured on one pair of a grid.

    ``measured``: each contender's speedup, the geometric mean over the prompts of the
    ratio of its median times: a text of some tens of milliseconds is too short for each repeat to
    count. ``same`` is the ratio of the reference to itself, if it competes too: 1 but for what the
    machine did meanwhile. ``schedules``: which model of a contender runs when. ``best``: each
    decoder's speedup at its best draft length, which the benchmark chose on other prompts than it
    is of.
    """

    depth: int
    perturbation: float
    acceptance_rate: float | None
    max_new_tokens: int
    prompts: tuple[int, ...]
    forwards: ForwardTimes
    trace: Trace
    measured: dict[str, float]
    same: float
    schedules: dict[str, Schedule]
    best: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any], directory: Path) -> MeasuredCell:
        """A cell of ``bench.json``, whose runs are below the benchmark's ``directory``.

        ValueError for one of an older version.
        """
        if "folder" not in content:
            raise ValueError("bench.json is of an older version")
        found = finished_runs(directory / content["folder"])
        schedules = {_label(run): _schedule(run) for run in found}
        runs = [(_label(run), Traces.read(run.directory)) for run in found]
        times = {label: _times(own.records, "new_tokens", "seconds") for label, own in runs}
        first = runs[0][1].records
        theirs = first.assign(tokens=first["reference_output_ids"].map(len))
        once = _times(theirs, "tokens", "reference_seconds")
        # A run of the target alone is the reference once more.
        same = next((label for label in times if schedules[label] == Alone()), "")
        again = times.pop(same, once)
        reference = _typical(pd.concat([once, again]))
        return cls(
            content["depth"],
            content["perturbation"],
            content["acceptance_rate"],
            int(first["new_tokens"].iloc[0]),
            tuple(first.drop_duplicates("task_id")["prompt_tokens"]),
            ForwardTimes.from_bench(content["forwards"]),
            Trace(
                tuple(map(merge, zip(*(_trace(own) for _, own in runs), strict=True))),
                confidences=next((one for _, own in runs if (one := _confidences(own))), None),
            ),
            {label: _ratio(reference, _typical(own)) for label, own in times.items()},
            _ratio(_typical(once), _typical(again)),
            schedules,
            {one["decoder"]: one["ratios"]["reference"]["value"] for one in content["best"]},
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
                one,
                self.forwards,
                acceptance or self.trace,
                costs,
                self.max_new_tokens,
                self.prompts,
            )
            .run()
            .text_seconds
            for one in (Alone(), self.schedules[label])
        )
        return _ratio(reference, own)


class NotSimulated(ValueError):
    """A grid has a decoder whose rounds can't be simulated."""


def _schedule(run: Run) -> Schedule:
    said = run.summary["decoder_about"]["schedule"]
    if said is None:
        raise NotSimulated(run.summary["decoder"])
    return read_schedule(said)


def _label(run: Run) -> str:
    """Decoder and draft length, if it has one."""
    gamma = run.summary["decoder_settings"].get("gamma")
    return f"{run.summary['decoder']}" + (f" γ={gamma}" if gamma else "")


def _times(records: pd.DataFrame, tokens: str, seconds: str) -> pd.Series[float]:
    """Seconds a token, by prompt, of each of its repeats."""
    return (records[seconds] / records[tokens]).set_axis(records["task_id"])


def _typical(times: pd.Series[float]) -> list[float]:
    """Of each prompt, the median over its repeats."""
    return [float(one) for one in times.groupby(level=0, sort=False).median()]


def _trace(run: Traces) -> list[str]:
    """For each prompt, which tokens of its text the draft model gets right, as far as it was seen.

    As :class:`pearl_eval.simulation.Trace` has them.
    """
    found = []
    for record, rounds in _prompts(run):
        marks = ["-"] * len(record["output_ids"])
        if record["draft_forwards"] and record["exact_match"]:
            for place, fate in _judged(rounds, "fates"):
                marks[place] = _MARKS[fate]
        found.append("".join(marks))
    return found


def _confidences(run: Traces) -> tuple[tuple[float, ...], ...] | None:
    """For each prompt, how sure the draft model was of its token for each place of the text.

    ``None`` where the run does not say. Where a token was drafted more than once the one that was
    judged counts, and where none was an even chance.
    """
    if not run.rounds["confidences"].map(len).any():
        return None
    found = []
    for record, rounds in _prompts(run):
        sure = [0.5] * len(record["output_ids"])
        for place, confidence in _judged(rounds, "confidences"):
            sure[place] = float(confidence)
        found.append(tuple(sure))
    return tuple(found)


def _prompts(run: Traces) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The first record of each problem, and its rounds."""
    for record in run.records.drop_duplicates("task_id").to_dict("records"):
        own = (run.rounds[KEY] == [record[name] for name in KEY]).all(axis=1)
        yield {str(name): value for name, value in record.items()}, run.rounds[own]


def _judged(rounds: pd.DataFrame, column: str) -> Iterator[tuple[int, Any]]:
    """The place of each drafted token that was judged, and what a column says of it."""
    for drafted in zip(rounds["drafted_at"], rounds["fates"], rounds[column], strict=True):
        for place, fate, value in zip(*drafted, strict=True):
            if fate in _MARKS:
                yield place, value


def _ratio(reference: Sequence[float], own: Sequence[float]) -> float:
    return geometric_mean(a / b for a, b in zip(reference, own, strict=True))


def read_grid(directory: Path) -> list[MeasuredCell]:
    """The cells of the grid that ``pearl-eval bench`` measured into a directory.

    Raises :class:`UserError` where there are none, or a decoder is not simulated.
    """
    path = directory / BENCH
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run pearl-eval bench grid=controlled") from None
    if not content.get("grid"):
        raise UserError(f"{path}: no grid was measured; run pearl-eval bench grid=controlled")
    try:
        return [MeasuredCell.of(cell, directory) for cell in content["grid"]]
    except NotSimulated as error:
        raise UserError(
            f"{path}: {error} is not simulated, so it can't be predicted; run a grid without it"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; run it again") from None


def halves(cells: Sequence[MeasuredCell]) -> tuple[list[MeasuredCell], list[MeasuredCell]]:
    """Every other cell, as the fields of a chessboard are black and white."""
    depths = sorted({cell.depth for cell in cells})
    perturbations = sorted({cell.perturbation for cell in cells})
    sides: tuple[list[MeasuredCell], list[MeasuredCell]] = ([], [])
    for cell in cells:
        place = depths.index(cell.depth) + perturbations.index(cell.perturbation)
        sides[place % 2].append(cell)
    return sides
