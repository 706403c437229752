"""A table of runs, with what stands below it: how they were measured, and which they are."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.frames.table import LOSSY, Cell, Table
from analysis.paper.cells import SPEEDUP


def table_of(
    name: str,
    title: str,
    index: tuple[str, ...],
    cells: list[Cell],
    runs: pd.DataFrame,
    within: tuple[str, ...] = (),
    notes: Iterable[str] = (SPEEDUP,),
) -> Table:
    return Table(name, title, index, cells, within, [*notes, *_notes(cells, runs)])


def _notes(cells: Iterable[Cell], runs: pd.DataFrame) -> list[str]:
    """What is bold, where and how runs were measured, and which they are."""
    lines = ["Bold: the best of its column."] if any(cell.best for cell in cells) else []
    if not runs["lossless"].all():
        lines.append(f"{LOSSY.strip()} not the target's own output, so it does not contend.")
    hardware = runs[["hardware", "target_devices", "dtype"]].drop_duplicates()
    lines += [
        f"Hardware: {name or 'unknown'}; the target on {count} device{'s' * (count > 1)}; {dtype}."
        for name, count, dtype in hardware.to_numpy().tolist()
    ]
    named = ["torch", "transformers", "python", "driver"]
    for _, own in runs.groupby(named, dropna=False, sort=False):
        one = own.iloc[0]
        commits = ", ".join(dict.fromkeys(commit[:8] for commit in own["commit"].dropna()))
        lines.append(
            f"torch {one['torch']}, transformers {one['transformers']}, Python {one['python']},"
            + (f" driver {one['driver']}," if pd.notna(one["driver"]) else "")
            + (f" pearl_eval at {commits}." if commits else " pearl_eval.")
        )
    limits = runs[["task", "max_new_tokens", "protocol", "sampling", "reference"]]
    lines += [
        f"{one.task}: {one.max_new_tokens:g} tokens, protocol {one.protocol}, {one.sampling},"
        f" reference {one.reference}."
        for one in limits.drop_duplicates().dropna(subset=["max_new_tokens"]).itertuples()
    ]
    if runs["synthetic"].any():
        lines.append("Of synthetic pairs tokens are made up: only times and counts mean anything.")
    return [*lines, "Runs: " + ", ".join(dict.fromkeys(runs["run"])) + "."]
