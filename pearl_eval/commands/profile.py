"""The forward times of a pair, as a Hydra program."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pearl_eval.profile.config import ProfileConfig
from pearl_eval.shell.command import hydra_command

ConfigStore.instance().store(name="profile_schema", node=ProfileConfig)


@hydra_command("profile")
def main(cfg: DictConfig) -> None:
    """One Hydra job: measure, print, and leave ``profile.json`` and a plot."""
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.profile.printing import profile_pair

    hydra_config = HydraConfig.get().runtime
    merged = OmegaConf.merge(OmegaConf.structured(ProfileConfig), cfg)
    config = cast(ProfileConfig, merged)
    profile_pair(config, hydra_config.choices["pair"], Path(hydra_config.output_dir))
