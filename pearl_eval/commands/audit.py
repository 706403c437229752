"""Outputs of any engine held to a target model, as a Hydra program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pearl_eval.audit.config import AuditConfig
from pearl_eval.shell.command import hydra_command
from pearl_eval.shell.resume import parted, quoted

ConfigStore.instance().store(name="audit_schema", node=AuditConfig)


@hydra_command("audit")
def _job(cfg: DictConfig) -> None:
    """One Hydra job: an audit."""
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.audit.audit import audit

    hydra_config = HydraConfig.get().runtime
    audit(cfg, hydra_config.choices["pair"], Path(hydra_config.output_dir))


def main(arguments: Sequence[str]) -> None:
    """Judge the files that are named among settings."""
    flags, words = parted(arguments)
    files = [word for word in words if _is_file(word)]
    if files:
        settings = [word for word in words if word not in files]
        listed = ",".join(quoted(Path(name)) for name in files)
        words = [*settings, f"files=[{listed}]"]
    _job([*flags, *words])


def _is_file(word: str) -> bool:
    """Whether a word of the command line is no setting; a file may have ``=`` in its name."""
    return ("=" not in word and not word.startswith(("+", "~"))) or Path(word).is_file()
