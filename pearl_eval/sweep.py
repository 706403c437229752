"""The end of a sweep: one table over all its runs, made from their files alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from pearl_eval.console import print_error, print_table
from pearl_eval.records import RECORDS, SUMMARY, launch_order
from pearl_eval.table import Row

#: Why a run failed; a sweep's other runs go on, so the error must be found in the run's folder.
ERROR = "error.txt"


class SweepReport(Callback):
    """Hydra callback around runs and sweeps.

    Refuses a directory that holds results before anything is written there. When a sweep is over,
    prints the table over its runs, and exits with 1 where one failed.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _refuse_used(Path(config.hydra.run.dir), "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _refuse_used(Path(config.hydra.sweep.dir), "hydra.sweep.dir")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            rows = sweep_rows(Path(config.hydra.sweep.dir))
            print_table(f"Sweep {config.hydra.sweep.dir}", rows)
        except Exception as error:
            # Hydra makes a warning of what a callback raises, and goes on to exit with 0.
            print_error(f"the sweep's table can't be made: {error}")
            raise SystemExit(1) from error
        if not rows or any(row.summary is None or row.summary["violations"] for row in rows):
            raise SystemExit(1)


def _refuse_used(directory: Path, name: str) -> None:
    """Exit with 2 where a directory holds a run or a sweep already, or can't be written."""
    if next(_runs_in(directory), None):
        print_error(
            f"{name}={directory} holds a run already; choose another directory, or move that away"
        )
        raise SystemExit(2)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print_error(f"{name}={directory} can't be written: {error.strerror}")
        raise SystemExit(2) from error


def _runs_in(directory: Path) -> Iterator[Path]:
    yield from directory.glob(RECORDS)
    yield from directory.glob(f"*/{RECORDS}")


def sweep_rows(directory: Path) -> list[Row]:
    """One row for each run below a sweep's directory, in the order they were launched."""
    folders = [path.parent.parent for path in directory.glob("*/.hydra/overrides.yaml")]
    folders.sort(key=launch_order)
    overrides = [list(OmegaConf.load(f / ".hydra" / "overrides.yaml")) for f in folders]
    return [
        _row(folder, label)
        for folder, label in zip(folders, varying_labels(overrides), strict=True)
    ]


def varying_labels(overrides: Sequence[Sequence[str]]) -> list[str]:
    """Short names for runs from their overrides: what they do not all share.

    The decoder goes by its name alone, as in ``pearl gamma=4``. A run that varies nothing, as the
    only one of a sweep, has no label.
    """
    shared = set(overrides[0]).intersection(*overrides[1:]) if overrides else set()
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
