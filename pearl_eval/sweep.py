"""The end of a sweep: one table over all its runs, made from their files alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pearl_eval.console import Row, print_table
from pearl_eval.records import SUMMARY

#: Why a run failed; a sweep's other runs go on, so the error must be found in the run's folder.
ERROR = "error.txt"


class SweepReport(Callback):
    """Hydra callback that prints the table when a sweep is over; exits 1 where a run failed."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        rows = sweep_rows(Path(config.hydra.sweep.dir))
        if rows:
            print_table(f"Sweep {config.hydra.sweep.dir}", rows)
        if any(row.summary is None or row.summary["violations"] for row in rows):
            raise SystemExit(1)


def sweep_rows(directory: Path) -> list[Row]:
    """One row for each run below a sweep's directory, in the order they were launched."""
    folders = [path.parent.parent for path in directory.glob("*/.hydra/overrides.yaml")]
    folders.sort(key=lambda folder: (not folder.name.isdigit(), folder.name.zfill(9)))
    overrides = [list(OmegaConf.load(f / ".hydra" / "overrides.yaml")) for f in folders]
    return [
        _row(folder, label)
        for folder, label in zip(folders, varying_labels(overrides), strict=True)
    ]


def varying_labels(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Short names for runs from their overrides: what they do not all share.

    The decoder goes by its name alone, as in ``pearl gamma=4``.
    """
    shared = set(overrides[0]).intersection(*overrides[1:]) if len(overrides) > 1 else set()
    labels = []
    for own in overrides:
        varying = sorted(
            (o for o in own if o not in shared), key=lambda o: o.split("=")[0] != "decoder"
        )
        words = [o.removeprefix("decoder=").removeprefix("decoder.") for o in varying]
        labels.append(" ".join(words))
    return labels


def _row(folder: Path, label: str) -> Row:
    summary_file, error_file = folder / SUMMARY, folder / ERROR
    summary = json.loads(summary_file.read_text()) if summary_file.exists() else None
    error = error_file.read_text().splitlines()[0] if error_file.exists() else "no result"
    label = label or (summary["decoder"] if summary else folder.name)
    return Row(label, str(folder), summary, error)
