"""How large a model is, from its config alone: what its forwards compute and read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from decoders.model.architecture import context
from pearl_eval.sizes.model_shapes import ModelShape


@dataclass(frozen=True)
class HeadShape:
    """Heads of one layer: how many of queries, how many of keys and values, and their width."""

    heads: int
    kv_heads: int
    width: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> HeadShape:
        """Of the config of a layer."""
        heads = config.num_attention_heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        width = getattr(config, "head_dim", None) or config.hidden_size // heads
        return cls(heads, kv_heads, width)


@dataclass(frozen=True)
class ModelSize:
    """Counts of one model.

    ``weights`` are all there are; a forward multiplies a token with ``multiplied`` of them, those
    of its matrix products, the output's among them. A token leaves ``cached`` values behind, its
    keys and values. ``attended`` is the width of the queries of all heads of all layers together,
    ``context`` the longest text in tokens.
    """

    weights: int
    multiplied: int
    cached: int
    attended: int
    context: int

    @classmethod
    def of(cls, config: PreTrainedConfig) -> ModelSize:
        """Raises ``ValueError`` where the config is not one of a causal language model."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        # Layers may differ in these, and some attend to keys and values of others.
        layers = [HeadShape.of(layer) for layer in config.per_layer_config]
        modes = getattr(config, "kv_sharing_modes", None) or [None] * len(layers)
        own = [layer for layer, mode in zip(layers, modes, strict=True) if mode != "reuse"]
        return cls(
            weights=sum(weights.numel() for weights in model.parameters()),
            multiplied=sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear)),
            cached=sum(2 * layer.kv_heads * layer.width for layer in own),
            attended=sum(layer.heads * layer.width for layer in layers),
            context=context(config),
        )

    @classmethod
    def of_shape(cls, shape: ModelShape) -> ModelSize:
        return cls(
            weights=shape.weights,
            multiplied=shape.multiplied,
            cached=shape.cached,
            attended=shape.num_hidden_layers * shape.num_attention_heads * shape.head_width,
            context=shape.max_position_embeddings,
        )

    def flops(self, tokens: int, seen: int) -> int:
        """Floating-point operations of a forward over ``tokens`` tokens after ``seen`` ones.

        Two for each weight and token; four for each query's value and each token it attends to, of
        its product with the keys and that with the values.
        """
        pairs = tokens * seen + tokens * (tokens + 1) // 2
        return 2 * tokens * self.multiplied + 4 * pairs * self.attended

    def values_read(self, tokens: int, seen: int) -> int:
        """Values, not bytes, that such a forward reads from memory: weights, keys and values."""
        return self.multiplied + self.cached * (seen + tokens)
