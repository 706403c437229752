"""A draft model for a target, as a Hydra program."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from pearl_eval.shell.command import hydra_command
from pearl_eval.training.config import DistillConfig

ConfigStore.instance().store(name="distill_schema", node=DistillConfig)


#: Of what it had written and learned when it was broken off.
_KEPT = "texts and the last checkpoint are on disk, and the same command goes on from there"


@hydra_command("distill", kept=_KEPT)
def main(cfg: DictConfig) -> None:
    """One Hydra job: a distillation."""
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.training.distill import distill

    distill(cfg)
