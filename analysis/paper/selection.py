"""Which of a frame's runs a table of the paper is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from analysis.frames.table import NoRuns
from pearl_eval.results.comparable import CONDITIONS, MOOT


def of_tasks(frame: pd.DataFrame, what: str, *names: str) -> pd.DataFrame:
    """The runs of tasks of these names, in whatever variant."""
    return some(frame[frame["task"].str.startswith(names)], f"a run of {what}")


def scheduled(frame: pd.DataFrame, schedules: Sequence[str], what: str) -> pd.DataFrame:
    """The runs of some schedules on pairs and tasks that have more than one of them."""
    runs = frame[frame["schedule"].isin(schedules)]
    return where_all(runs, lambda group: group["schedule"].nunique() > 1, what)


def where_all(
    frame: pd.DataFrame, holds: Callable[[pd.DataFrame], bool], what: str, *by: str
) -> pd.DataFrame:
    """The runs of those pairs and tasks, under one set of conditions, for which something holds."""
    keys = ["pair", "task", *by, *(name for name in CONDITIONS if name not in MOOT)]
    kept = [group for _, group in frame.groupby(keys, dropna=False, sort=False) if holds(group)]
    return some(pd.concat(kept).sort_index() if kept else frame[:0], what)


def several_lengths(group: pd.DataFrame) -> bool:
    return group["gamma"].nunique() > 1


def run_alike(part: pd.DataFrame, run: Any, schedule: str) -> Any | None:
    """The run of such a schedule on a run's pair and task; of several that of its sweep, draft
    length and seed. None where there is none, or it can't be told."""
    same = (part["schedule"] == schedule) & (part["pair"] == run["pair"])
    found = part[same & (part["task"] == run["task"])]
    for name in ("sweep", "gamma", "seed"):
        closer = found[found[name] == run[name]]
        found = closer if len(closer) else found
    return found.iloc[0] if len(found) == 1 else None


def some(frame: pd.DataFrame, what: str) -> pd.DataFrame:
    if frame.empty:
        raise NoRuns(f"none of these runs is {what}".replace("is a run of", "is of"))
    return frame


def rows_of(frame: pd.DataFrame) -> Iterable[Any]:
    return (row for _, row in frame.iterrows())
