"""What Hydra is to know of launchers; it looks for them in this package alone, at every start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

try:
    from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
except ImportError:  # an extra
    pass
else:
    # By default as many runs at once as have GPUs, or else cores, of their own.
    _AT_ONCE: Any = "${runs_at_once:${pair},${runtime}}"
    ConfigStore.instance().store(
        group="hydra/launcher",
        name="joblib",
        node=JobLibLauncherConf(n_jobs=_AT_ONCE),
        provider="pearl_eval",
    )


class SlurmLauncher(Launcher):
    """See :mod:`pearl_eval.slurm`, which is imported late: it needs the extra ``cluster``."""

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
        from pearl_eval.slurm import launch  # late: it takes its time

        return launch(self._setup, job_overrides, initial_job_idx)
