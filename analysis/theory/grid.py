"""Measured cells: the pairs of a benchmark's grid or its contest, as a simulation needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import pandas as pd

from pearl_eval.errors import UserError
from pearl_eval.results.records import BENCH, read_bench
from pearl_eval.results.replay import RecordedText, recorded_texts
from pearl_eval.results.runs import Run, finished_runs
from pearl_eval.results.traces import KEY, Traces
from pearl_eval.simulation import (
    Acceptance,
    Alone,
    Costs,
    ForwardTimes,
    Lookups,
    Retrievals,
    Retrieving,
    Schedule,
    Sequential,
    Simulation,
    Trace,
    drafted_alone,
    read_schedule,
)
from pearl_eval.simulation.acceptance import merge
from pearl_eval.simulation.retrievals import retrieved

#: What tells texts apart: the turns of a dialogue are texts of their own.
_TEXT = ["task_id", "turn"]


@dataclass(frozen=True)
class MeasuredCell:
    """What was measured on one pair and task: a cell of a grid, or a whole contest.

    ``name`` says which. ``dials`` of a cell of a grid are its depth and its perturbation.
    ``recorded``: of contenders that look something up, what they did, since it follows from no
    acceptance.
    ``measured``: each contender's speedup, the geometric mean over the prompts of the
    ratio of its median times: a text of some tens of milliseconds is too short for each repeat to
    count. ``same`` is the ratio of the reference to itself, if it competes too: 1 but for what the
    machine did meanwhile. ``schedules``: which model of a contender runs when. ``best``: each
    decoder's speedup at its best draft length, which the benchmark chose on other prompts than it
    is of.
    """

    name: str
    acceptance_rate: float | None
    max_new_tokens: int
    prompts: tuple[int, ...]
    forwards: ForwardTimes
    trace: Trace
    measured: dict[str, float]
    same: float
    schedules: dict[str, Schedule]
    best: dict[str, float] = field(default_factory=dict)
    dials: tuple[int, float] | None = None
    recorded: dict[str, Acceptance] = field(default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any], directory: Path) -> MeasuredCell:
        """A cell of ``bench.json``, whose runs are below the benchmark's ``directory``.

        Of a contest those decoders are left out whose rounds can't be simulated; a grid's cells
        must all have the same. ValueError for one of an older version.
        """
        if "folder" not in content:
            raise ValueError("bench.json is of an older version")
        found = finished_runs(directory / content["folder"])
        dials = (content["depth"], content["perturbation"]) if "depth" in content else None
        if dials is None:
            found = [run for run in found if _is_simulated(run)]
            if not found:
                raise ValueError("none of the contest's decoders is simulated")
            name = "{pair}, {task}".format(**found[0].summary)
        else:
            for run in found:
                if not _is_simulated(run):
                    raise NotSimulated(run.summary["decoder"])
            name = "depth {}, perturbation {:g}".format(*dials)
        schedules = {_label(run): _schedule(run) for run in found}
        runs = [(_label(run), Traces.read(run.directory)) for run in found]
        times = {label: _times(own.records, "new_tokens", "seconds") for label, own in runs}
        drafting = [own for label, own in runs if drafted_alone(schedules[label])]
        texts = [list(_texts(own)) for own in drafting]
        sure = (known for own, known in zip(drafting, texts, strict=True) if _tells_how_sure(own))
        first = runs[0][1].records
        theirs = first.assign(tokens=first["reference_output_ids"].map(len))
        once = _times(theirs, "tokens", "reference_seconds")
        # A run of the target alone is the reference once more.
        same = next((label for label in times if schedules[label] == Alone()), "")
        again = times.pop(same, once)
        reference = _typical(pd.concat([once, again]))
        return cls(
            name,
            content["acceptance_rate"],
            _length(first),
            tuple(first.drop_duplicates(_TEXT)["prompt_tokens"]),
            ForwardTimes.from_bench(content["forwards"]),
            Trace(
                tuple(map(merge, zip(*map(_marks, texts), strict=True))),
                confidences=next((_confidences(known) for known in sure), None),
            ),
            {label: _ratio(reference, _typical(own)) for label, own in times.items()},
            _ratio(_typical(once), _typical(again)),
            schedules,
            {one["decoder"]: one["ratios"]["reference"]["value"] for one in content["best"]},
            dials,
            {
                label: _RECORDINGS[type(schedules[label])](own)
                for label, own in runs
                if not drafted_alone(schedules[label])
            },
        )

    @property
    def speed_ratio(self) -> float:
        """c."""
        return self.forwards.speed_ratio

    def predicted(self, label: str, costs: Costs, acceptance: Acceptance | None = None) -> float:
        """The speedup that a simulation of the same prompts gives, as ``measured`` is defined.

        ``acceptance`` instead of the cell's own.
        """
        recorded = self.recorded.get(label) or self.trace
        reference, own = (
            Simulation(
                one,
                self.forwards,
                acceptance or recorded,
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


def _is_simulated(run: Run) -> bool:
    if run.summary["decoder_about"]["schedule"] is None:
        return False
    schedule = _schedule(run)
    return drafted_alone(schedule) or type(schedule) in _RECORDINGS


def _schedule(run: Run) -> Schedule:
    return read_schedule(run.summary["decoder_about"]["schedule"])


def _label(run: Run) -> str:
    """Decoder and draft length, if it has one."""
    gamma = run.summary["decoder_settings"].get("gamma")
    return f"{run.summary['decoder']}" + (f" γ={gamma}" if gamma else "")


def _times(records: pd.DataFrame, tokens: str, seconds: str) -> pd.Series[float]:
    """Seconds a token, by text, of each of its repeats."""
    return (records[seconds] / records[tokens]).set_axis(pd.MultiIndex.from_frame(records[_TEXT]))


def _typical(times: pd.Series[float]) -> list[float]:
    """Of each text, the median over its repeats."""
    return [float(one) for one in times.groupby(level=_TEXT, sort=False).median()]


def _length(records: pd.DataFrame) -> int:
    """How long each text is. ValueError where one ended before the others."""
    lengths = sorted(set(records["new_tokens"]))
    if len(lengths) > 1:
        raise ValueError(
            f"texts are {lengths[0]} to {lengths[-1]} tokens long, but one length is simulated;"
            " measure with protocol=paper"
        )
    return int(lengths[0])


#: The first record of a text, and what its rounds say of its tokens.
_Recorded = tuple[dict[str, Any], RecordedText]


def _marks(texts: Sequence[_Recorded]) -> list[str]:
    """For each text, which of its tokens the draft model gets right, as far as it was seen.

    As :class:`pearl_eval.simulation.Trace` has them.
    """
    return [
        text.marks
        if record["draft_forwards"] and record["exact_match"]
        else "-" * len(record["output_ids"])
        for record, text in texts
    ]


def _tells_how_sure(run: Traces) -> bool:
    return bool(run.rounds["confidences"].map(len).any())


def _confidences(texts: Sequence[_Recorded]) -> tuple[tuple[float, ...], ...]:
    """For each text, how sure the draft model was of its token for each place of it."""
    return tuple(text.confidences for _, text in texts)


def _lookups(run: Traces) -> Lookups:
    """What was looked up in each text, round by round."""
    return Lookups(
        tuple(
            tuple(zip(own["drafted"].tolist(), own["accepted"].tolist(), strict=True))
            for _, own in _first_rounds(run)
        )
    )


def _retrievals(run: Traces) -> Retrievals:
    """What both models read and gave in each round of each text."""
    return Retrievals(
        tuple(
            tuple(retrieved(own.itertuples(), record["prompt_tokens"]))
            for record, own in _first_rounds(run)
        )
    )


#: What is taken from the rounds of decoders of which a draft model's acceptance says too little, by
#: the kind of their schedule. It holds where rounds begin again where the recorded ones began,
#: which of other schedules is not known.
_RECORDINGS: dict[type, Callable[[Traces], Acceptance]] = {
    Sequential: _lookups,
    Retrieving: _retrievals,
}


def _texts(run: Traces) -> Iterator[_Recorded]:
    for record, own in _first_rounds(run):
        (text,) = recorded_texts(own)
        yield record, text


def _first_rounds(run: Traces) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The first record of each text, and its rounds."""
    for record in run.records.drop_duplicates(_TEXT).to_dict("records"):
        own = (run.rounds[KEY] == [record[name] for name in KEY]).all(axis=1)
        yield {str(name): value for name, value in record.items()}, run.rounds[own]


def _ratio(reference: Sequence[float], own: Sequence[float]) -> float:
    return geometric_mean(a / b for a, b in zip(reference, own, strict=True))


def read_cells(*directories: Path) -> list[MeasuredCell]:
    """The pairs of benchmarks' grids, or else their contests, from their directories.

    Raises :class:`UserError` where a directory has neither, or nothing that can be simulated.
    """
    return [cell for directory in directories for cell in _read(directory, contest=True)]


def read_grid(directory: Path) -> list[MeasuredCell]:
    """The pairs of the grid that ``pearl-eval bench`` measured into a directory.

    Raises :class:`UserError` where there are none, or a decoder is not simulated.
    """
    return list(_read(directory, contest=False))


def _read(directory: Path, contest: bool) -> Iterator[MeasuredCell]:
    path, content = directory / BENCH, read_bench(directory)
    found = content.get("grid") or [content.get("contest")] * contest
    if not any(found):
        raise UserError(f"{path}: no grid was measured; run pearl-eval bench grid=controlled")
    try:
        for cell in found:
            yield MeasuredCell.of(cell, directory)
    except NotSimulated as error:
        raise UserError(
            f"{path}: {error} is not simulated, so it can't be predicted; run a grid without it"
        ) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}; run it again") from None


def halves(cells: Sequence[MeasuredCell]) -> tuple[list[MeasuredCell], list[MeasuredCell]]:
    """Every other cell: of a grid as the fields of a chessboard are black and white."""
    dials = [cell.dials for cell in cells if cell.dials is not None]
    depths, perturbations = (sorted({one[i] for one in dials}) for i in (0, 1))
    sides: tuple[list[MeasuredCell], list[MeasuredCell]] = ([], [])
    for place, cell in enumerate(cells):
        if cell.dials is not None:
            place = depths.index(cell.dials[0]) + perturbations.index(cell.dials[1])
        sides[place % 2].append(cell)
    return sides
