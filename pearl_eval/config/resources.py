"""The GPUs and cores that a run asks of a machine, for launchers' YAML files."""

from __future__ import annotations

from omegaconf import DictConfig


def pair_gpus(pair: DictConfig, runtime: DictConfig) -> int:
    """GPUs of a pair: its target's and its draft model's, one each unless it says otherwise.

    A target in several ranks has one for each.
    """
    asked = ((pair.get(model) or {}).get("gpus") for model in ("target", "draft"))
    target, draft = (1 if gpus is None else gpus for gpus in asked)
    ranks = runtime.tensor_parallel
    return int((ranks if ranks > 1 else target) + draft)


def pair_cores(runtime: DictConfig) -> int:
    """CPU cores of a run without GPUs: one for each thread."""
    return int(runtime.target_threads * runtime.tensor_parallel + runtime.draft_threads)


def runs_at_once(pair: DictConfig, runtime: DictConfig) -> int:
    """How many runs this machine has GPUs for, or, without any, cores; at least one.

    Of those that ``runtime.gpus`` and ``runtime.cores`` leave to choose from.
    """
    # Imported late: they bring torch, which no other launcher has use for.
    import torch

    from decoders.process.placement import available_cores

    gpus, cores = range(torch.cuda.device_count()), available_cores()
    if gpus:
        allowed = gpus if runtime.gpus is None else runtime.gpus
        return max(1, len(allowed) // pair_gpus(pair, runtime))
    allowed = cores if runtime.cores is None else runtime.cores
    return max(1, len(allowed) // pair_cores(runtime))
