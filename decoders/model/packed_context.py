"""Keys and values of a long text that lie as oneDNN's kernels read them.

A window of several tokens multiplies all keys, and then all values, by a few rows. PyTorch's
float32 product of a few rows on a CPU first puts what it multiplies them by into the order in which
its kernel reads it, every time: after a long text that takes longer than the arithmetic. Here it is
done once for the text's first tokens, in a copy beside the cache. To oneDNN, the keys of several
heads are the weights of one convolution in groups, a group for each head, and the queries its
pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

#: The copy has a multiple of so many tokens, as many as there are of the text before the window: a
#: window is then computed in the same way whatever was read before it.
BLOCK = 512
#: From so many tokens on the copy pays.
SHORTEST = 2048
#: Up to so many tokens of a window it pays.
WIDEST = 16
#: Bytes that the copies of all layers may take.
ROOM = 1 << 30


def packed_tokens(seen: int, window: int) -> int:
    """How many of the ``seen`` tokens before a window are to be read from a copy; 0 is none."""
    if seen < SHORTEST or not 2 <= window <= WIDEST:
        return 0
    return seen - seen % BLOCK


def fits(layers: int, heads: int, head_dim: int, tokens: int) -> bool:
    """Whether copies of so many tokens can be made, of float32, and are not too large."""
    known = hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
    return known and 2 * 4 * layers * heads * head_dim * tokens <= ROOM


@dataclass(frozen=True)
class PackedContext:
    """A copy of one layer's keys and values at the first ``tokens`` positions."""

    tokens: int
    heads: int
    keys: Any
    values: Any

    @classmethod
    def of(cls, keys: torch.Tensor, values: torch.Tensor, tokens: int) -> PackedContext:
        """Of a cache's buffers, ``[1, heads, tokens or more, head_dim]``."""
        heads, head_dim = keys.shape[1], keys.shape[3]
        by_token = keys[0, :, :tokens].reshape(heads * tokens, head_dim)
        by_channel = values[0, :, :tokens].transpose(1, 2).reshape(heads * head_dim, tokens)
        return cls(tokens, heads, _pack(by_token, heads), _pack(by_channel, heads))

    def attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        hidden_from: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """What the tokens of a window read of the values, the copied ones and those behind them.

        Parameters
        ----------
        queries
            ``[1, query heads, window, head_dim]``; as many of them as there are heads of keys, or a
            multiple, of which neighbours read the same keys.
        keys, values
            Of the whole text, ``[1, heads, tokens, head_dim]``, the window's own the last.
        hidden_from
            See :class:`Window`.

        Returns
        -------
        ``[1, query heads, window, head_dim]``
        """
        window, head_dim = queries.shape[2:]
        # Queries that read the same keys are rows of one product: [heads, group, window, head_dim].
        grouped = (queries[0] * scaling).view(self.heads, -1, window, head_dim)
        rows = grouped.shape[1] * window
        by_row = grouped.permute(1, 2, 0, 3).reshape(rows, -1)
        copied = self._product(by_row, self.keys).view(rows, self.heads, self.tokens)
        behind = grouped.reshape(self.heads, rows, head_dim) @ keys[0, :, self.tokens :].mT
        behind.view(self.heads, -1, window, behind.shape[-1])[..., -window:] += hidden_from
        shares = torch.cat([copied, behind.transpose(0, 1)], dim=-1).softmax(dim=-1)
        of_copied = shares[..., : self.tokens].reshape(rows, -1)
        read = self._product(of_copied, self.values).view(rows, self.heads, head_dim)
        of_behind = shares[..., self.tokens :].transpose(0, 1)
        read = torch.baddbmm(read.transpose(0, 1), of_behind, values[0, :, self.tokens :])
        return read.view(queries.shape)

    def _product(self, rows: torch.Tensor, packed: Any) -> torch.Tensor:
        """``rows``, ``[rows, heads × inputs]``, times what is packed, head by head."""
        pixels = rows.t()[None, :, :, None]
        product = torch.ops.mkldnn._convolution_pointwise(
            pixels, packed, None, [0, 0], [1, 1], [1, 1], self.heads, "none", [], ""
        )
        return product[0, :, :, 0].t()


def _pack(weights: torch.Tensor, heads: int) -> Any:
    """``weights`` of all heads, ``[heads × outputs, inputs]``, as a convolution reads them."""
    inputs = weights.shape[1]
    return torch.ops.mkldnn._reorder_convolution_weight(
        weights[:, :, None, None], [0, 0], [1, 1], [1, 1], heads, [1, heads * inputs, 8, 1]
    )
