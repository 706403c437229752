"""Makes our sweeper known to Hydra, which looks for sweepers in this package alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper


class Sweeper(BasicSweeper):
    """Hydra's basic sweeper. It refuses, before any job runs, jobs that can't be."""

    def sweep(self, arguments: list[str]) -> Any:
        self._folders: list[Path] = []
        return super().sweep(arguments)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose each job, as Hydra does here, and look at it."""
        from pearl_eval.shell.sweep import check_job  # late: every command imports this module

        assert self.hydra_context is not None and self.config is not None
        for overrides in batch:
            job = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            self._folders.append(check_job(job, self._folders))
