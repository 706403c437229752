"""Logging a run beside its files. A failure to log never fails or slows an evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pearl_eval.config.schema import Names
from pearl_eval.results.records import Record

if TYPE_CHECKING:
    import pandas as pd


#: Where runs are logged unless another project was asked for.
PROJECT = "pearl-eval"


class Tracker:
    """Logs nothing: the tracker of ``tracking=none``, and the interface of the others."""

    def log_prompt(self, record: Record, step: int) -> None:
        """Log one finished prompt. Called outside timed regions.

        ``step`` is the prompt's number in the run, from 0; a run that is continued goes on with
        the number after the last finished prompt.
        """

    def finish(
        self,
        summary: dict[str, Any],
        records: Sequence[Record],
        rounds: pd.DataFrame,
        files: Sequence[Path],
    ) -> None:
        """Log the whole run: figures, tables, pictures, and its complete files.

        ``records`` and ``rounds`` are all of the run's, also from before it was continued.
        """

    def finish_audit(
        self, summary: dict[str, Any], rows: pd.DataFrame, files: Sequence[Path]
    ) -> None:
        """Log an audit: its figures, a table of its rows, and its files."""

    def close(self, failed: bool) -> None:
        """Let go of the run, also where it did not reach ``finish``."""


@dataclass(frozen=True)
class TrackedRun:
    """What is known of a run when it begins.

    ``config`` is the whole configuration, as Hydra composed it. ``group`` is shared by the runs of
    one sweep. ``directory`` is the run's output directory; the tracker's own files go there too.
    """

    names: Names
    config: dict[str, Any]
    tags: Sequence[str]
    group: str
    directory: Path


def quieten_wandb() -> None:
    """Have W&B say and ask no more than it is told to. Called before it is imported."""
    # Its own error reports look up a host when the program ends, which takes ten seconds where a
    # network drops packets.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
