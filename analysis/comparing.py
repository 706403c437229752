"""Decoders against each other, and one sweep against another, from files alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import CONDITIONS
from analysis.frame import sections
from analysis.paired import PairedTest, holm, ratios
from pearl_eval.errors import UserError
from pearl_eval.traces import KEY, Traces

#: P-values, corrected, below which something counts as different.
LEVEL = 0.05
#: What may differ between two sweeps of which one asks what changed: that is the question.
_CHANGES = ("code", "torch", "transformers", "python", "driver", "hardware")
#: What tells the runs of a sweep apart.
_SAME = ("pair", "task", "label", "seed")


def decoders(frame: pd.DataFrame, figure: str = "speedup") -> pd.DataFrame:
    """Every two decoders of a pair and task, under the same conditions.

    A row a comparison: ``section``, ``pair``, ``task``, ``faster`` and ``slower`` (labels, by the
    ratio), ``n`` (problems), ``ratio``, ``low``, ``high``, ``effect``, ``p`` (see
    :class:`analysis.paired.PairedTest`), ``p_holm`` (corrected for all rows), ``differs``, and
    ``runs``. Raises :class:`UserError` where there are no two.
    """
    rows = []
    for section, part in sections(frame):
        for (pair, task), group in part.groupby(["pair", "task"], sort=False):
            records = {run["run"]: _records(run["run"]) for _, run in group.iterrows()}
            for (_, one), (_, other) in combinations(group.iterrows(), 2):
                test = PairedTest.of(ratios(records[other["run"]], records[one["run"]], figure))
                faster, slower = one, other
                if test.ratio < 1:
                    faster, slower = other, one
                    test = PairedTest.of(ratios(records[one["run"]], records[other["run"]], figure))
                rows.append(
                    {"section": section, "pair": pair, "task": task}
                    | {"faster": faster["label"], "slower": slower["label"]}
                    | vars(test)
                    | {"runs": f"{faster['run']}, {slower['run']}"}
                )
    if not rows:
        raise UserError("no two of these runs are of one pair and task under the same conditions")
    return _corrected(rows)


def changes(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """What became of each run of one sweep in another, usually of another commit.

    A row a run that both have: ``pair``, ``task``, ``label``, then ``n``, ``ratio`` … ``p_holm``,
    ``differs`` of its tokens per second, after over before; ``reference_ratio``, the same of the
    autoregressive reference, which tells a faster decoder from a faster machine; ``speedup_before``
    … of other figures; ``same_outputs``, the share of prompts with the same tokens. Raises
    :class:`UserError` where the two have no run in common, or were made under other conditions.
    """
    pairs = before.merge(after, on=list(_SAME), suffixes=("_before", "_after"))
    if pairs.empty:
        raise UserError(
            f"the two have no run in common: {_labels(before)} before, {_labels(after)} after"
        )
    rows = []
    for both in _alike(pairs):
        theirs, ours = (_records(both[f"run_{end}"]) for end in ("before", "after"))
        test = PairedTest.of(ratios(theirs, ours, "tokens_per_second"))
        reference = PairedTest.of(ratios(theirs, ours, "reference_tokens_per_second"))
        row = {name: both[name] for name in _SAME} | vars(test)
        row |= {"reference_ratio": reference.ratio, "same_outputs": _same_outputs(theirs, ours)}
        for figure in ("speedup", "acceptance_rate", "mean_accepted_tokens", "accuracy"):
            row |= {f"{figure}_{end}": both[f"{figure}_{end}"] for end in ("before", "after")}
        rows.append(row | {"runs": f"{both['run_before']}, {both['run_after']}"})
    return _corrected(rows)


def differing(before: pd.DataFrame, after: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """In what else two sweeps differ: conditions that may, the commit, and runs only one has."""
    found = {}
    for name in (*_CHANGES, "commit"):
        values = tuple(
            ", ".join(map(str, dict.fromkeys(frame[name].dropna()))) or "–"
            for frame in (before, after)
        )
        if values[0] != values[1]:
            found[name] = (values[0], values[1])
    labels = [set(map(tuple, frame[list(_SAME)].to_numpy().tolist())) for frame in (before, after)]
    only = [", ".join(sorted(str(one[2]) for one in labels[i] - labels[1 - i])) for i in (0, 1)]
    if any(only):
        found["runs that the other has not"] = (only[0] or "–", only[1] or "–")
    return found


def _alike(pairs: pd.DataFrame) -> Iterator[Any]:
    """Of each run before, the one after that was made under its conditions; one there must be."""
    for _, group in pairs.groupby([*_SAME, "run_before"], sort=False):
        found = [both for _, both in group.iterrows() if not _different(both)]
        if not found:
            name, *values = _different(group.iloc[0])
            raise UserError(
                f"{group.iloc[0]['run_before']} and {group.iloc[0]['run_after']} can't be compared:"
                f" their {name} is {values[0]} and {values[1]}"
            )
        yield found[0]


def _different(both: Any) -> tuple[Any, ...]:
    """The first condition in which two runs differ that must not, and its values; else ()."""
    for name in CONDITIONS:
        values = [both[f"{name}_{end}"] for end in ("before", "after")]
        before, after = (None if pd.isna(value) else value for value in values)
        if name not in _CHANGES and before != after:
            return name, before, after
    return ()


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
