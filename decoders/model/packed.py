"""Products of several rows with weights that lie as oneDNN's kernels read them.

PyTorch's float32 product of a few rows on a CPU puts its weights into the order in which its kernel
reads them, every time. Here they are put so once, in a copy beside the plain ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

#: From so many rows on the packed weights are quicker.
ROWS = 4
#: Products with fewer weights are over before the packed kernel has begun.
SMALLEST = 100_000
#: Bytes of packed weights that a model may have: a large one is not kept in memory twice.
ROOM = 1 << 28


def packable(weights: Iterable[torch.Tensor]) -> bool:
    """Whether a model's ``weights``, ``[inputs, outputs]`` each, can be packed and are few."""
    every = list(weights)
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and all(one.device.type == "cpu" and one.dtype is torch.float32 for one in every)
        and sum(one.nbytes for one in every if one.numel() >= SMALLEST) <= ROOM
    )


def pack(weights: torch.Tensor) -> Any:
    """A packed copy of ``weights``, ``[inputs, outputs]``; ``None`` where it would not pay."""
    if weights.numel() < SMALLEST:
        return None
    return torch.ops.mkldnn._reorder_linear_weight(weights.t().contiguous())


def product(rows: torch.Tensor, weights: torch.Tensor, packed: Any) -> torch.Tensor:
    """``rows @ weights``, by the packed copy if there is one and it is quicker."""
    if packed is None or rows.shape[0] < ROWS or rows.dtype is not torch.float32:
        return rows @ weights
    return torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], "")
