"""The runs of a directory, and the finished ones as their files describe them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError
from pearl_eval.results import labels
from pearl_eval.results.comparable import conditions, differences
from pearl_eval.results.records import (
    BENCH,
    OVERRIDES,
    RECORDS,
    RUN,
    SUMMARY,
    SWEEP,
    read_identity,
)
from pearl_eval.results.summaries import whole_summary

#: Any of these makes a folder a run's.
_OF_A_RUN = (OVERRIDES, RECORDS, RUN, SUMMARY)
#: And any of these one that has several runs below it.
_OF_SEVERAL = (SWEEP, BENCH)
#: Folders in which there is no run: what libraries leave there can be much.
_OTHERS = {".hydra", ".submitit", "wandb"}
_NUMBER = re.compile(r"^    num: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A finished run: its label in pictures, its ``summary.json``, its directory."""

    label: str
    summary: dict[str, Any]
    directory: Path

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """What two runs must share to be compared prompt by prompt, by what it is called."""
        own = {name: self.summary[name] for name in ("pair", "task", "seed")}
        identity = read_identity(self.directory)
        return own | conditions(self.summary, identity)

    def differences(self, other: Run) -> dict[str, tuple[Any, Any]]:
        """In what the two differ, so that they can't be compared; empty where they can."""
        return differences(self.conditions, other.conditions)


def run_folders(directory: Path) -> list[Path]:
    """The folders of the runs of a sweep or a benchmark, begun or finished, in launch order.

    Of a run, its own. They may lie at any depth, where ``hydra.sweep.subdir`` says so. Another
    sweep or benchmark that lies below is one of its own.
    """
    if _is_run(directory) and not _has_several(directory):
        return [directory]
    return sorted(_below(directory, {directory.resolve()}), key=lambda one: _order(directory, one))


def sweep_of(directory: Path) -> Path | None:
    """The folder of the sweep or the benchmark that a run's folder is part of."""
    return next((one for one in directory.absolute().parents if _has_several(one)), None)


def read_runs(directory: Path) -> list[Run]:
    """The finished runs of a sweep's directory, or the one of a run's own, in launch order."""
    return labelled(one for one in run_folders(directory) if (one / SUMMARY).exists())


def finished_runs(directory: Path) -> list[Run]:
    """Likewise; :class:`UserError` where there are none."""
    runs = read_runs(directory)
    if not runs:
        begun = any((folder / RECORDS).exists() for folder in run_folders(directory))
        what = "the run there is not finished" if begun else "there is no run there"
        raise UserError(f"{directory}: {what}: no {SUMMARY}")
    return runs


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _OF_A_RUN)


def _has_several(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _OF_SEVERAL)


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The runs in the folders of a folder. One may lie below another; ``seen`` ends circles."""
    try:
        found = [Path(one.path) for one in os.scandir(folder) if one.is_dir()]
    except OSError:  # gone in the meantime, or another user's
        return
    for one in found:
        real = one.resolve()
        if one.name in _OTHERS or _has_several(one) or real in seen:
            continue
        seen.add(real)
        if _is_run(one):
            yield one
        yield from _below(one, seen)


def _order(sweep: Path, folder: Path) -> tuple[float, list[tuple[bool, str]]]:
    """Sorts runs as they were launched: by the number of the job, which may be their name."""
    parts = folder.relative_to(sweep).parts
    by_name = [(not part.isdigit(), part.zfill(9) if part.isdigit() else part) for part in parts]
    if len(parts) == 1 and parts[0].isdigit():
        return int(parts[0]), by_name
    try:
        told = _NUMBER.search((folder / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        told = None
    return float(told[1]) if told else float("inf"), by_name


def labelled(directories: Iterable[Path]) -> list[Run]:
    """Runs with their names, and tasks, pairs or folders where these do not tell them apart."""
    folders = list(directories)
    summaries = [whole_summary(folder) for folder in folders]
    known = [
        labels.of_run(one["decoder"], one["decoder_settings"], one["seed"]) for one in summaries
    ]
    named = zip(labels.labels(known), summaries, strict=True)
    # Those of one name by what else they are of.
    names = labels.labels(
        [{"decoder": name, "task": one["task"], "pair": one["pair"]} for name, one in named]
    )
    names = labels.placed(names, folders)
    return [Run(*one) for one in zip(names, summaries, folders, strict=True)]
