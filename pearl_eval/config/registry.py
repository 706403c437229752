"""What Hydra is told of before it composes: the schema, resolvers, and defaults of its plugins."""

from __future__ import annotations

from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from pearl_eval.config import resources
from pearl_eval.config.paths import asset, task_data
from pearl_eval.config.schema import Config

#: Sweeps go by this class, unless another was asked for.
SWEEPER = "hydra_plugins.pearl_eval_sweeper.Sweeper"


def register() -> None:
    """Make the schema and the resolvers known to Hydra."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("asset", asset, replace=True)
    OmegaConf.register_new_resolver("task_data", task_data, replace=True)
    OmegaConf.register_new_resolver("job_gpus", resources.job_gpus, replace=True)
    OmegaConf.register_new_resolver("job_cores", resources.job_cores, replace=True)
    OmegaConf.register_new_resolver("runs_at_once", resources.runs_at_once, replace=True)
    _default_joblib()
    _default_sweeper()


def _default_sweeper() -> None:
    """``hydra/sweeper=basic`` is the one that looks at all jobs before the first runs."""
    Plugins.instance()  # which store their own defaults
    ConfigStore.instance().store(
        group="hydra/sweeper", name="basic", node=BasicSweeperConf(_target_=SWEEPER)
    )


def _default_joblib() -> None:
    """``hydra/launcher=joblib`` is as many runs at once as have GPUs, or cores, of their own."""
    Plugins.instance()  # which store their own defaults
    try:
        from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
    except ImportError:  # an extra
        return
    at_once: Any = "${runs_at_once:${decoder},${pair},${runtime}}"
    ConfigStore.instance().store(
        group="hydra/launcher", name="joblib", node=JobLibLauncherConf(n_jobs=at_once)
    )
