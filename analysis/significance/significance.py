"""Decoders against each other, and one sweep against another, from files alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames.frame import sections
from analysis.significance.paired import PairedTest, holm, ratios
from pearl_eval.errors import UserError
from pearl_eval.results.comparable import CONDITIONS, differences
from pearl_eval.results.traces import KEY, Traces

#: P-values, corrected, below which something counts as different.
LEVEL = 0.05
#: What may differ between two sweeps of which one asks what changed: that is the question.
_CHANGES = (
    *("code", "torch", "transformers", "python", "driver"),
    *("hardware", "processes", "draft_place"),
)
#: What tells the runs of a sweep apart, with the number of a repeat.
_SAME = ("pair", "task", "decoder", "asked", "seed")


def decoders(frame: pd.DataFrame, figure: str = "speedup") -> pd.DataFrame:
    """Every two decoders of a pair and task, under the same conditions.

    A row a comparison: ``section``, ``pair``, ``task``, ``faster`` and ``slower`` (labels, by the
    ratio), ``faster_lossless`` and ``slower_lossless`` (whether its output is the target's own),
    ``n`` (problems), ``ratio``, ``low``, ``high``, ``effect``, ``p`` (see
    :class:`analysis.significance.paired.PairedTest`), ``p_holm`` (corrected for all rows),
    ``differs``, and ``runs``. Raises :class:`UserError` where there are no two.
    """
    rows = []
    seen: set[tuple[str, str]] = set()
    for section, part in sections(frame):
        for (pair, task), group in part.groupby(["pair", "task"], sort=False):
            records = {run["run"]: _records(run["run"]) for _, run in group.iterrows()}
            for (_, one), (_, other) in combinations(group.iterrows(), 2):
                # Runs of which a condition is moot are in several sections.
                if (both := (one["run"], other["run"])) in seen:
                    continue
                seen.add(both)
                test = PairedTest.of(ratios(records[other["run"]], records[one["run"]], figure))
                faster, slower = one, other
                if test.ratio < 1:
                    faster, slower = other, one
                    test = PairedTest.of(ratios(records[one["run"]], records[other["run"]], figure))
                rows.append(
                    {"section": section, "pair": pair, "task": task}
                    | {"faster": faster["label"], "slower": slower["label"]}
                    | {"faster_lossless": faster["lossless"], "slower_lossless": slower["lossless"]}
                    | vars(test)
                    | {"runs": f"{faster['run']}, {slower['run']}"}
                )
    if not rows:
        raise UserError("no two of these runs are of one pair and task under the same conditions")
    return _corrected(rows)


def changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """What became of each run of one sweep in another, usually of another commit.

    A row a run that both have, asked for in the same words: ``pair``, ``task``, ``decoder``,
    ``seed``, ``label`` (before), then ``n``, ``ratio`` … ``p_holm``, ``differs`` of its speedups,
    after over before, in which a faster machine cancels; ``own_ratio`` and ``reference_ratio``,
    that ratio of its tokens per second and of its reference's; ``speedup_before`` … of other
    figures; ``same_outputs``, the share of prompts with the same tokens. Raises
    :class:`UserError` where the two have no run in common, or were made under other conditions.
    """
    pairs = _pairs(before, after)
    if pairs.empty:
        raise UserError(
            f"the two have no run in common: {_labels(before)} before, {_labels(after)} after"
        )
    rows = []
    for both in _alike(pairs):
        theirs, ours = (_records(both[f"run_{end}"]) for end in ("before", "after"))
        test = PairedTest.of(ratios(theirs, ours, "speedup"))
        own = PairedTest.of(ratios(theirs, ours, "tokens_per_second"))
        reference = PairedTest.of(ratios(theirs, ours, "reference_tokens_per_second"))
        row = {name: both[name] for name in ("pair", "task", "decoder", "seed")}
        row |= {"label": both["label_before"]} | vars(test)
        row |= {"own_ratio": own.ratio, "reference_ratio": reference.ratio}
        row |= {"same_outputs": _same_outputs(theirs, ours)}
        for figure in _COMPARED:
            row |= {f"{figure}_{end}": both[f"{figure}_{end}"] for end in ("before", "after")}
        rows.append(row | {"runs": f"{both['run_before']}, {both['run_after']}"})
    return _corrected(rows)


#: Figures that are told of both sweeps.
_COMPARED = (
    "speedup",
    "acceptance_rate",
    "mean_accepted_tokens",
    "acceptance_length",
    "accuracy",
)


def differing(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """In what else two sweeps differ: conditions that may, the commit, and runs only one has."""
    found = {}
    for name in (*_CHANGES, "decoder_code", "commit"):
        values = tuple(
            ", ".join(map(str, dict.fromkeys(frame[name].dropna()))) or "–"
            for frame in (before, after)
        )
        if values[0] != values[1]:
            found[name] = (values[0], values[1])
    for _, both in _pairs(before, after).iterrows():
        settings = both["settings_before"], both["settings_after"]
        if settings[0] != settings[1]:
            found[f"settings of {both['label_before']} on {both['task']}"] = settings
    runs = [_numbered(frame).set_index([*_SAME, "number"])["label"] for frame in (before, after)]
    only = [
        ", ".join(sorted(own[~own.index.isin(other.index)])) for own, other in (runs, runs[::-1])
    ]
    if any(only):
        found["runs that the other has not"] = (only[0] or "–", only[1] or "–")
    return found


def _pairs(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Each run beside those of the other sweep that are the same but for conditions."""
    by = [*_SAME, "number"]
    return _numbered(before).merge(_numbered(after), on=by, suffixes=("_before", "_after"))


def _numbered(frame: pd.DataFrame) -> pd.DataFrame:
    """With the ``number`` of a run among its repeats."""
    by = [*_SAME, *(name for name in CONDITIONS if name not in _CHANGES)]
    return frame.assign(number=frame.groupby(by, dropna=False, sort=False).cumcount())


def _alike(pairs: pd.DataFrame) -> Iterator[Any]:
    """Of each run before, the one after that was made under its conditions; one there must be."""
    for _, group in pairs.groupby("run_before", sort=False):
        found = [both for _, both in group.iterrows() if not _different(both)]
        if not found:
            name, values = next(iter(_different(group.iloc[0]).items()))
            raise UserError(
                f"{group.iloc[0]['run_before']} and {group.iloc[0]['run_after']} can't be compared:"
                f" their {name} is {values[0]} and {values[1]}"
            )
        yield found[0]


def _different(both: Any) -> dict[str, tuple[Any, Any]]:
    """The conditions in which two runs differ that must not."""
    before, after = (
        {name: None if pd.isna(own := both[f"{name}_{end}"]) else own for name in CONDITIONS}
        for end in ("before", "after")
    )
    return differences(before, after, may=_CHANGES)


def _same_outputs(theirs: pd.DataFrame, ours: pd.DataFrame) -> float:
    columns = [*KEY, "output_ids"]
    pairs = theirs[columns].merge(ours[columns], on=KEY, suffixes=("_theirs", "_ours"))
    same = [
        a == b for a, b in zip(pairs["output_ids_theirs"], pairs["output_ids_ours"], strict=True)
    ]
    return sum(same) / len(same) if same else float("nan")


def _corrected(rows: list[dict[str, Any]]) -> pd.DataFrame:
    found = pd.DataFrame(rows)
    found["p_holm"] = holm(list(found["p"]))
    found["differs"] = found["p_holm"] < LEVEL
    return found


def _records(run: str) -> pd.DataFrame:
    return Traces.read(Path(run)).records


def _labels(frame: pd.DataFrame) -> str:
    return ", ".join(f"{run['label']} on {run['task']}" for _, run in frame.iterrows())
