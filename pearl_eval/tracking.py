"""Logging a run beside its files. A failure to log never fails or slows an evaluation."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from pearl_eval.config import Names, TrackingBackend, TrackingConfig, TrackingMode
from pearl_eval.records import Record

log = logging.getLogger(__name__)

#: Seconds that W&B may take to start, and to finish.
_TIMEOUT = 30
#: Record fields too large, or of no use, as a metric of a step.
_NOT_METRICS = {"output_ids", "reference_output_ids", "text", "accepted_runs", "task_id"}


class Tracker:
    """Logs nothing: the tracker of ``tracking=none``, and the interface of the others."""

    def log_prompt(self, record: Record, step: int) -> None:
        """Log one finished prompt. Called outside timed regions."""

    def finish(self, summary: dict[str, Any], rounds: pd.DataFrame) -> None:
        """Log the whole run's figures."""

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


def make_tracker(config: TrackingConfig, run: TrackedRun) -> Tracker:
    """The tracker that the ``tracking`` group of a configuration asks for."""
    if config.backend is TrackingBackend.none or config.mode is TrackingMode.disabled:
        return Tracker()
    return WandbTracker(config, run)


class WandbTracker(Tracker):
    """Logs to Weights & Biases: config, one step per prompt, summary, and the rounds as a table."""

    def __init__(self, config: TrackingConfig, run: TrackedRun) -> None:
        self._run: Any = None
        self._failed = False
        mode = config.mode.value if config.mode else os.environ.get("WANDB_MODE", "offline")
        # W&B's own error reports look up a host when the program ends, which takes ten seconds
        # where a network drops packets.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ["WANDB_DATA_DIR"] = str(run.directory / "wandb")
        parts = [run.names.decoder, run.names.pair, run.names.task]
        arguments: dict[str, Any] = {
            "project": config.project,
            "entity": config.entity,
            "group": config.group or run.group,
            "name": "-".join(parts),
            "job_type": "evaluation",
            "tags": [*parts, *run.tags, *config.tags],
            "config": run.config,
            "dir": str(run.directory),
        }
        self._guard("start", lambda: self._start(mode, arguments))
        if self._run is None and mode == "online":
            self._failed = False
            log.warning("W&B: this run is kept offline; `wandb sync` uploads it later")
            self._guard("start offline", lambda: self._start("offline", arguments))

    def _start(self, mode: str, arguments: dict[str, Any]) -> None:
        import wandb

        settings = wandb.Settings(
            console="off", init_timeout=_TIMEOUT, finish_timeout=_TIMEOUT, silent=True
        )
        try:
            self._run = wandb.init(mode=cast(Any, mode), settings=settings, **arguments)
        except Exception:
            # Nothing of a failed start may be left for the next one to trip over.
            wandb.teardown()
            raise
        self._run.define_metric("prompt")
        self._run.define_metric("*", step_metric="prompt")

    def log_prompt(self, record: Record, step: int) -> None:
        metrics = {k: v for k, v in dataclasses.asdict(record).items() if k not in _NOT_METRICS}
        self._guard("log", lambda: self._run.log({"prompt": step} | metrics, step=step))

    def finish(self, summary: dict[str, Any], rounds: pd.DataFrame) -> None:
        def log_all() -> None:
            import wandb

            self._run.log({"rounds": wandb.Table(dataframe=rounds)})
            self._run.summary.update(summary)

        self._guard("summary", log_all)

    def close(self, failed: bool) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            self._failed = False
            self._guard("finish", lambda: run.finish(exit_code=int(failed)))

    def _guard(self, what: str, action: Callable[[], object]) -> None:
        """Do ``action``; after the first failure warn once and log nothing more."""
        if self._failed:
            return
        try:
            action()
        except Exception as error:
            self._failed = True
            reason = " ".join(str(error).split())[:200]
            log.warning("W&B %s failed, the run's files are complete without it: %s", what, reason)
