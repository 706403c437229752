"""The runs of a directory, and the finished ones as their files describe them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError
from pearl_eval.results.records import OVERRIDES, RECORDS, RUN, SUMMARY, SWEEP, read_summary

#: Any of these makes a folder a run's.
_OF_A_RUN = (OVERRIDES, RECORDS, RUN, SUMMARY)
#: Folders in which there is no run: what libraries leave there can be much.
_OTHERS = {".hydra", ".submitit", "wandb"}
_NUMBER = re.compile(r"^    num: (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """A finished run: its label in pictures, its ``summary.json``, its directory."""

    label: str
    summary: dict[str, Any]
    directory: Path

    @property
    def conditions(self) -> dict[str, str]:
        """What two runs must share to be compared prompt by prompt, by what it is called."""
        summary = self.summary
        return {
            "pair": summary["pair"],
            "task": summary["task"],
            "data": json.dumps(summary["data"], sort_keys=True),
            "seed": str(summary["seed"]),
            "precision": str(summary["environment"]["dtype"]),
            "sampling": "sampled" if summary["sampled_tokens"] else "greedy",
        }


def run_folders(directory: Path) -> list[Path]:
    """The folders of a sweep's runs, begun or finished, in launch order; of a run, its own.

    They may lie at any depth, where ``hydra.sweep.subdir`` says so. Another sweep that lies below
    is one of its own.
    """
    if _is_run(directory) and not (directory / SWEEP).is_file():
        return [directory]
    return sorted(_below(directory, {directory.resolve()}), key=lambda one: _order(directory, one))


def sweep_of(directory: Path) -> Path | None:
    """The folder of the sweep that a run's folder is part of."""
    return next((one for one in directory.absolute().parents if (one / SWEEP).is_file()), None)


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


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The runs in the folders of a folder. One may lie below another; ``seen`` ends circles."""
    try:
        found = [Path(one.path) for one in os.scandir(folder) if one.is_dir()]
    except OSError:  # gone in the meantime, or another user's
        return
    for one in found:
        real = one.resolve()
        if one.name in _OTHERS or (one / SWEEP).is_file() or real in seen:
            continue
        seen.add(real)
        if _is_run(one):
            yield one
        yield from _below(one, seen)


def _order(sweep: Path, folder: Path) -> tuple[float, list[tuple[bool, str]]]:
    """Sorts runs as they were launched: by the number of the job, which may be their name."""
    parts = folder.relative_to(sweep).parts
    by_name = [(not part.isdigit(), part.zfill(9)) for part in parts]
    if len(parts) == 1 and parts[0].isdigit():
        return int(parts[0]), by_name
    try:
        told = _NUMBER.search((folder / ".hydra" / "hydra.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        told = None
    return float(told[1]) if told else float("inf"), by_name


def labelled(directories: Iterable[Path]) -> list[Run]:
    """Runs by the names of their decoders.

    Those of one decoder by their draft lengths, too, if these are several, and by their folders, if
    that does not tell them apart.
    """
    folders = list(directories)
    summaries = [read_summary(folder) for folder in folders]
    decoders = [(one["decoder"], one["decoder_settings"].get("gamma")) for one in summaries]
    names = [
        f"{name} γ{gamma}" if gamma and len({g for n, g in decoders if n == name}) > 1 else name
        for name, gamma in decoders
    ]
    places = {
        name: _places([one for one, own in zip(folders, names, strict=True) if own == name])
        for name in names
        if names.count(name) > 1
    }
    return [
        Run(f"{name} ({places[name][folder]})" if name in places else name, summary, folder)
        for name, folder, summary in zip(names, folders, summaries, strict=True)
    ]


def _places(folders: Iterable[Path]) -> dict[Path, str]:
    """Folders by what of their paths tells them apart."""
    wholes = {folder: folder.absolute() for folder in folders}
    common = os.path.commonpath([whole.parent for whole in wholes.values()])
    return {folder: str(whole.relative_to(common)) for folder, whole in wholes.items()}
