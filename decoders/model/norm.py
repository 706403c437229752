"""RMS norms in few operations."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import rms_norm


class RootMeanSquareNorm(nn.Module):
    """Divides rows by the root of their mean square, and multiplies them by weights.

    PyTorch's own is one kernel on a GPU, but a dozen operations on a CPU, which cost a small
    forward more than the arithmetic. Here they are five there, in float32, rounded once.

    Parameters
    ----------
    weights
        One for each element of a row.
    eps
        What is added to the mean square.
    """

    def __init__(self, weights: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights.detach(), requires_grad=False)
        self._shape, self._eps, self._dtype = weights.shape, eps, weights.dtype
        self._few = weights.device.type == "cpu" and weights.dtype.itemsize <= 4
        # x ÷ √(Σx²/n + ε) = √n x ÷ √(Σx² + nε), and √(a² + b²) is one operation.
        size = weights.numel()
        self._scaled = weights.detach().float() * math.sqrt(size)
        self._least = torch.tensor(math.sqrt(size * eps), device=weights.device)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """``rows``, ``[…, size]``, also of a wider dtype than the weights."""
        if not self._few or rows.dtype is not self._dtype:
            return rms_norm(rows, self._shape, self.weight.to(rows.dtype), self._eps)
        lengths = torch.linalg.vector_norm(rows, 2, -1, True, dtype=torch.float32)
        normed = (rows * self._scaled).div_(torch.hypot(lengths, self._least))
        return normed if rows.dtype is torch.float32 else normed.to(rows.dtype)
