"""The tracker that a configuration asks for."""

from __future__ import annotations

import os

from pearl_eval.config.schema import TrackingBackend, TrackingConfig
from pearl_eval.tracking.tracker import TrackedRun, Tracker

#: What ``WANDB_MODE`` may say, and what that means here.
_MODES = {"online": "online", "offline": "offline", "disabled": "disabled"}
_MODES |= {"run": "online", "dryrun": "offline", "shared": "shared"}


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
