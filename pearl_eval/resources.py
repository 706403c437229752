"""What a run asks of a machine, as configurations of launchers name it; known without torch."""

from __future__ import annotations

from omegaconf import DictConfig


def pair_gpus(pair: DictConfig) -> int:
    """GPUs of a pair: its target's and its draft model's, one each unless it says otherwise."""
    return sum((pair.get(model) or {}).get("gpus", 1) for model in ("target", "draft"))


def pair_cores(runtime: DictConfig) -> int:
    """CPU cores of a run without GPUs: one for each thread."""
    return int(runtime.target_threads + runtime.draft_threads)


def runs_at_once(pair: DictConfig, runtime: DictConfig) -> int:
    """How many runs this machine has GPUs for, or, without any, cores; at least one."""
    # Imported late: they bring torch, which no other launcher has use for.
    import torch

    from decoders.placement import available_cores

    if gpus := torch.cuda.device_count():
        return max(1, gpus // pair_gpus(pair))
    return max(1, len(available_cores()) // pair_cores(runtime))
