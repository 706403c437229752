"""Makes our Slurm launcher known to Hydra, which looks for launchers in this package alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SlurmLauncher(Launcher):
    """See :mod:`pearl_eval.evaluation.slurm`, which is imported late: it needs the extra
    ``cluster``."""

    def __init__(self, **params: Any) -> None:
        # Each job's parameters are those of its own configuration.
        del params

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self._setup = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        from pearl_eval.evaluation.slurm import launch  # late: it takes its time

        return launch(self._setup, job_overrides, initial_job_idx)
