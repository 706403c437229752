"""What this project wants to reach, beside what a benchmark measured. Nothing is asserted.

``python tests/helpers/goals.py DIRECTORY`` prints it of a benchmark's directory.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir

from pearl_eval.config.paths import config_dir
from pearl_eval.config.registry import register
from pearl_eval.config.schema import Names
from pearl_eval.evaluation.comparison import Comparison
from pearl_eval.evaluation.evaluation import evaluate
from pearl_eval.results.records import BENCH, RECORDS, Record, read_json, read_lines
from pearl_eval.results.runs import Run, finished_runs
from pearl_eval.results.speed import Ratio, Speed
from pearl_eval.results.traces import Traces

#: How far from 1 the reference may be from itself.
UNFAIRNESS = 0.02
#: What a round of PEARL may send under greedy decoding: token ids and what goes with them, and
#: nothing of the size of a vocabulary.
BYTES = 256


@dataclass(frozen=True)
class Goal:
    """A figure that is wanted and, where it was measured, what it was."""

    name: str
    value: float | None
    sign: str
    threshold: float
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.threshold if self.sign == "≥" else self.value <= self.threshold

    def __str__(self) -> str:
        said = {None: "not measured", True: "met", False: "MISSED"}[self.met]
        value = "" if self.value is None else f" {self.value:.4g}"
        return f"{said:12}{self.name}:{value} ({self.sign} {self.threshold:.4g} wanted) {self.note}"


def contest_goals(contest: Mapping[str, Any], directory: Path) -> list[Goal]:
    """Goals of a contest on one pair, at draft lengths that were chosen on other prompts."""
    best = {one["decoder"]: one for one in contest["best"]}

    def ratio(ours: str, theirs: str, threshold: float) -> Goal:
        ratios = best.get(ours, {}).get("ratios", {})
        value = ratios[theirs]["value"] if theirs in ratios else None
        return Goal(f"{ours} ÷ {theirs}", value, "≥", threshold)

    goals = [
        ratio("autoregressive", "generate", 1.0),
        ratio("autoregressive", "generate", 1.3),
        ratio("speculative", "best assisted", 1.2),
        ratio("pearl", "best assisted", 1.5),
    ]
    rows = {row["contender"]: row for row in contest["rows"]}
    if "pearl" in best:
        label = best["pearl"]["contender"]
        run = next(
            one for one in finished_runs(directory / contest["folder"]) if one.label == label
        )
        rounds = later_rounds(run)
        inside = 1 - float(rounds["overhead"].sum() / rounds["wall"].sum())
        goals += [
            Goal("limit 2 ÷ time, alone", rows[label]["round_limit_share"], "≥", 0.9, label),
            Goal("limit 2 ÷ time, inside", inside, "≥", 0.97, label),
            Goal("crossing, seconds a round", crossing(run), "≤", 60e-6, label),
            Goal("bytes a round", float(rounds["bytes_sent"].mean()), "≤", BYTES, label),
        ]
    if "autoregressive" in rows:
        again = Ratio(**rows["autoregressive"]["ratios"]["reference"])
        goals.append(Goal("A/A, off 1", abs(again.value - 1), "≤", UNFAIRNESS, str(again)))
    return goals


def later_rounds(run: Run) -> pd.DataFrame:
    """Its rounds but for each prompt's first, which reads it."""
    rounds = Traces.read(run.directory).rounds
    return rounds[rounds["round"] > 0]


def crossing(run: Run) -> float:
    """Median seconds from a round's start until the drafted tokens were there, beyond the longer
    side, over the rounds after each prompt's first in which both models ran."""
    rounds = later_rounds(run)
    own = rounds[(rounds["drafted"] > 0) & (rounds["target_seconds"] > 0)]
    there = own["target_start"] - own["start"] + own["target_seconds"] + own["wait_target_seconds"]
    return float((there - own[["draft_seconds", "target_seconds"]].max(axis=1)).median())


def grid_goals(cells: Sequence[Mapping[str, Any]], directory: Path) -> list[Goal]:
    """What the fastest PEARL reaches on the best pair of a grid.

    Pair and draft lengths are chosen on one half of the prompts; what is reached is that of the
    other half.
    """
    pearl = {one["decoder"] for cell in cells for one in cell["best"]}
    pearl = {name for name in pearl if name.startswith("pearl")}
    goals = []
    for name, rivals, threshold in (
        ("autoregressive", (), 4.43),
        ("speculative", ("speculative",), 1.5),
    ):
        reached = []
        for cell in cells:
            runs = [(run, half(run)) for run in finished_runs(directory / cell["folder"])]
            ours, theirs = fastest(runs, pearl), fastest(runs, rivals)
            if ours is None or (rivals and theirs is None):
                continue
            chosen, held_out = (
                Ratio.of(ours[1][i], theirs[1][i] if theirs else None).value for i in (0, 1)
            )
            where = f"c = {cell['speed_ratio']:.1f}, depth {cell['depth']}"
            reached.append((chosen, held_out, f"{ours[0].label}, {where}"))
        _, value, note = max(reached, default=(None, None, ""))
        goals.append(Goal(f"best PEARL ÷ {name}, best pair", value, "≥", threshold, note))
    return goals


Halves = tuple[list[Record], list[Record]]


def half(run: Run) -> Halves:
    """The records of every other prompt, on which is chosen, and those of the rest."""
    records = [Record(**line) for line in read_lines(run.directory / RECORDS)]
    places = {name: i for i, name in enumerate(dict.fromkeys(one.task_id for one in records))}
    return (
        [one for one in records if places[one.task_id] % 2 == 0],
        [one for one in records if places[one.task_id] % 2 == 1],
    )


def fastest(
    runs: Sequence[tuple[Run, Halves]], decoders: Collection[str]
) -> tuple[Run, Halves] | None:
    """The fastest run of some decoders on the half that chooses."""
    own = [one for one in runs if one[0].summary["decoder"] in decoders]
    return max(own, key=lambda one: Speed.of(one[1][0]).tokens_per_second or 0.0, default=None)


def run_goals(directory: Path, *overrides: str) -> Iterator[Goal]:
    """Goals of one whole run, which is made into ``directory`` and watched.

    How long it takes, its modules imported, until the first prompt is decoded, and what share of
    the time from then on nothing was decoded in: records, verdicts, the progress bar.
    """
    from decoders.process.clock import clock

    decode = Comparison._decode
    times: list[tuple[float, float]] = []

    def watched(self: Comparison, *arguments: Any) -> Any:
        start = clock()
        made = decode(self, *arguments)
        times.append((start, clock()))
        return made

    register()
    Comparison._decode = watched  # type: ignore[method-assign]
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose(
                "config", ["task=gsm8k_mini", "tracking=none", "task.limit=8", *overrides]
            )
        begun = clock()
        evaluate(cfg, Names("pearl", "tiny", "gsm8k_mini"), directory, directory)
    finally:
        Comparison._decode = decode  # type: ignore[method-assign]
    spent = sum(end - start for start, end in times)
    yield Goal("from the start to the first prompt, seconds", times[0][0] - begun, "≤", 3.0)
    yield Goal("outside timed regions", 1 - spent / (times[-1][1] - times[0][0]), "≤", 0.02)


def goals(directory: Path) -> list[Goal]:
    """Those of what a benchmark left in its directory."""
    content = read_json(directory / BENCH)
    found = contest_goals(content["contest"], directory) if content["contest"] else []
    return found + (grid_goals(content["grid"], directory) if content["grid"] else [])


if __name__ == "__main__":
    print(*goals(Path(sys.argv[1])), sep="\n")
