"""Whether models fit the memory there is, asked before they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

from pearl_eval.errors import UserError

_GIB = 2**30
#: Tokens of keys and values that an estimate makes room for, at most.
_CACHED_TOKENS = 4096


def model_bytes(config: PreTrainedConfig, dtype: torch.dtype) -> int:
    """Bytes of a model's weights, and of keys and values of a long text, from its config alone.

    Raises ``ValueError`` where the config is not one of a causal language model.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    weights = sum(weights.numel() for weights in model.parameters())
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tokens = min(config.max_position_embeddings, _CACHED_TOKENS)
    cache = 2 * config.num_hidden_layers * heads * head_dim * tokens
    return (weights + cache) * dtype.itemsize


def check_fits(needs: Mapping[str, tuple[tuple[str, ...], int]]) -> None:
    """Refuse models that do not fit.

    Parameters
    ----------
    needs
        For each role the devices its model is spread over and the bytes it needs. Roles that share
        devices need the sum.
    """
    pools: dict[frozenset[str], int] = {}
    for devices, size in needs.values():
        pools[frozenset(devices)] = pools.get(frozenset(devices), 0) + size
    for pool, size in pools.items():
        free = sum(free_bytes(device) for device in pool)
        if size > free:
            parts = ", ".join(f"{role} {own / _GIB:.1f} GiB" for role, (_, own) in needs.items())
            raise UserError(
                f"not enough memory on {' + '.join(sorted(pool))}: about {size / _GIB:.1f} GiB"
                f" are needed, {free / _GIB:.1f} GiB are free ({parts}); take smaller models, a"
                " smaller pair.dtype, or more devices"
            )


def free_bytes(device: str) -> int:
    """Free memory of a device, in bytes."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")
