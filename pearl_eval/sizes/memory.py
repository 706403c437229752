"""Whether models fit the memory there is, asked before they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from pearl_eval.errors import UserError
from pearl_eval.sizes.model_size import ModelSize

_GIB = 2**30
#: Tokens of keys and values that an estimate makes room for, at most.
_CACHED_TOKENS = 4096


def model_bytes(size: ModelSize, dtype: torch.dtype) -> int:
    """Bytes of a model's weights, and of keys and values of a long text."""
    return (size.weights + size.cached * min(size.context, _CACHED_TOKENS)) * dtype.itemsize


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
