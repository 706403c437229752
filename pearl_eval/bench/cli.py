"""The ``pearl-eval-bench`` command."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import pearl_eval.bench.config  # noqa: F401 (which makes the schema known to Hydra)
from pearl_eval.shell.command import hydra_command


@hydra_command("bench")
def main(cfg: DictConfig) -> None:
    """Entry point of ``pearl-eval-bench``."""
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.bench.benchmark import Benchmark

    hydra_config = HydraConfig.get()
    directory = Path(hydra_config.runtime.output_dir)
    Benchmark(cfg, directory, hydra_config.runtime.choices).run()


if __name__ == "__main__":
    main()
