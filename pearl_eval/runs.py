"""The finished runs of a directory, as their files describe them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError
from pearl_eval.records import RECORDS, SUMMARY, launch_order, read_summary


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
            "data": json.dumps(summary.get("data"), sort_keys=True),
            "seed": str(summary["seed"]),
            "precision": str(summary["environment"].get("dtype")),
            "sampling": "sampled" if summary.get("sampled_tokens") else "greedy",
        }


def read_runs(directory: Path) -> list[Run]:
    """The finished runs of a sweep's directory, or the one of a run's own, in launch order."""
    files = sorted(directory.glob(f"*/{SUMMARY}"), key=lambda file: launch_order(file.parent))
    if not files and (directory / SUMMARY).exists():
        files = [directory / SUMMARY]
    return labelled(file.parent for file in files)


def finished_runs(directory: Path) -> list[Run]:
    """Likewise; :class:`UserError` where there are none."""
    runs = read_runs(directory)
    if not runs:
        begun = [*directory.glob(RECORDS), *directory.glob(f"*/{RECORDS}")]
        what = "the run there is not finished" if begun else "there is no run there"
        raise UserError(f"{directory}: {what}: no {SUMMARY}")
    return runs


def labelled(directories: Iterable[Path]) -> list[Run]:
    """Runs by the names of their decoders.

    Those of one decoder by their draft lengths, too, if these are several, and by the names of
    their folders, if that does not tell them apart.
    """
    folders = list(directories)
    summaries = [read_summary(folder) for folder in folders]
    decoders = [(summary["decoder"], _gamma(summary)) for summary in summaries]
    names = [
        f"{name} γ{gamma}" if gamma and len({g for n, g in decoders if n == name}) > 1 else name
        for name, gamma in decoders
    ]
    return [
        Run(name if names.count(name) == 1 else f"{name} ({folder.name})", summary, folder)
        for name, folder, summary in zip(names, folders, summaries, strict=True)
    ]


def _gamma(summary: dict[str, Any]) -> Any:
    return (summary.get("decoder_settings") or {}).get("gamma")
