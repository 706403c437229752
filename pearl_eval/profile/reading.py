"""How fast memory can be read where a model runs: the limit of a forward of a few tokens."""

from __future__ import annotations

import torch

from decoders.model.cached_model import CachedModel
from decoders.process.clock import clock

#: Bytes that are read at most; of larger weights the time is taken in proportion.
_MOST = 1 << 29


def time_reading(model: CachedModel, repeats: int) -> list[float]:
    """Seconds that as many bytes as a forward's weights take to be read once, and nothing else.

    Empty where it is not known what a forward reads, see :class:`WeightBytes`.
    """
    wanted = model.weight_bytes.read
    if wanted is None:
        return []
    # Sums of whole numbers are the operation of PyTorch's that reads memory fastest.
    buffer = torch.ones(min(wanted, _MOST) // 8 + 1, dtype=torch.int64, device=model.device)

    def read() -> float:
        model.synchronize()
        start = clock()
        buffer.sum().item()
        return (clock() - start) * wanted / buffer.nbytes

    read()
    return [read() for _ in range(repeats)]
