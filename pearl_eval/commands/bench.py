"""Decoders side by side, as a Hydra program."""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pearl_eval.bench.config import BenchConfig
from pearl_eval.shell.command import hydra_command

ConfigStore.instance().store(name="bench_schema", node=BenchConfig)


@hydra_command("bench")
def main(cfg: DictConfig) -> None:
    """One Hydra job: a benchmark."""
    # Imported late: it brings torch and transformers, which --help and --cfg have no use for.
    from pearl_eval.bench.benchmark import Benchmark

    hydra_config = HydraConfig.get().runtime
    Benchmark(cfg, Path(hydra_config.output_dir), hydra_config.choices).run()
