"""How many bytes of weights a model has, reads in a forward, and holds in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from decoders.model.packed import Projection


@dataclass(frozen=True)
class WeightBytes:
    """Bytes of a model's weights as it is loaded: all, and what a forward of a few tokens reads.

    ``read`` leaves out embeddings that are only looked up. It is None for a mixture of experts, a
    forward of which reads what its routers choose.
    """

    all: int
    read: int | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> WeightBytes:
        """Of a model whose layers are transformers' own."""
        parameters = list(model.parameters())
        every = sum(weights.nbytes for weights in parameters)
        # Only experts' weights have three dimensions: one for each expert.
        if any(weights.dim() > 2 for weights in parameters):
            return cls(every, None)
        embeddings: Any = model.get_input_embeddings()
        head = model.get_output_embeddings()
        of_head = {id(weights) for weights in head.parameters()} if head is not None else ()
        tied = id(embeddings.weight) in of_head
        return cls(every, every if tied else every - embeddings.weight.nbytes)


def held_bytes(model: nn.Module) -> int:
    """Memory that a model's weights take, in whatever order they lie, copies of them included."""
    packed = sum(one.packed_bytes for one in model.modules() if isinstance(one, Projection))
    plain = {one.untyped_storage().data_ptr(): one.nbytes for one in model.parameters()}
    return packed + sum(plain.values())
