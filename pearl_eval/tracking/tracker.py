"""Logging a run beside its files. A failure to log never fails or slows an evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pearl_eval.config.schema import Names, TrackingBackend, TrackingConfig
from pearl_eval.results.records import Record

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


#: Where runs are logged unless another project was asked for.
PROJECT = "pearl-eval"
#: What ``WANDB_MODE`` may say, and what that means here.
_MODES = {"online": "online", "offline": "offline", "disabled": "disabled"}
_MODES |= {"run": "online", "dryrun": "offline", "shared": "shared"}


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
        images: Callable[[], Mapping[str, Path | Figure]] | None = None,
    ) -> None:
        """Log the whole run: figures, tables, its complete files, and pictures by their captions.

        ``records`` and ``rounds`` are all of the run's, also from before it was continued.
        ``images`` draws; it is called only where they are logged.
        """

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


def make_tracker(config: TrackingConfig, run: TrackedRun) -> Tracker:
    """The tracker that the ``tracking`` group of a configuration asks for."""
    mode = config.mode.value if config.mode else _mode()
    if config.backend is TrackingBackend.none or mode == "disabled":
        return Tracker()
    # Imported late, as W&B itself is: it costs nothing where tracking is off.
    from pearl_eval.tracking.wandb_tracker import WandbTracker

    return WandbTracker(config, run, mode)


def _mode() -> str:
    """What ``WANDB_MODE`` says; offline where it says nothing that W&B knows."""
    return _MODES.get(os.environ.get("WANDB_MODE", "").strip().lower(), "offline")
