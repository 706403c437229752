"""The shapes of models by their hub id: what can be said of a model without having it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from omegaconf import OmegaConf

from pearl_eval.config.paths import asset
from pearl_eval.errors import UserError


@dataclass(frozen=True)
class ModelShape:
    """The shape of a decoder-only transformer with gated MLPs, grouped queries and no biases.

    Llama and Qwen3 are such. Names are those of a model's ``config.json``. ``head_dim`` is
    hidden_size / num_attention_heads where it is None.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    max_position_embeddings: int
    head_dim: int | None = None
    tie_word_embeddings: bool = False
    query_key_norms: bool = False

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def multiplied(self) -> int:
        """Weights of the matrix products a forward multiplies a token with, the output's included.

        All of them are read for each forward; the embedding's are not.
        """
        heads = 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        layer = self.hidden_size * (heads * self.head_width + 3 * self.intermediate_size)
        return self.num_hidden_layers * layer + self.vocab_size * self.hidden_size

    @property
    def weights(self) -> int:
        """All weights, those of embedding and norms included."""
        norms = (2 * self.num_hidden_layers + 1) * self.hidden_size
        if self.query_key_norms:
            norms += 2 * self.num_hidden_layers * self.head_width
        embedding = 0 if self.tie_word_embeddings else self.vocab_size * self.hidden_size
        return self.multiplied + embedding + norms

    @property
    def cached(self) -> int:
        """Values a token leaves behind in the cache, its keys and values."""
        return 2 * self.num_hidden_layers * self.num_key_value_heads * self.head_width


@cache
def known_shapes() -> dict[str, ModelShape]:
    """The shape of each model in ``assets/model_shapes.yaml``, by its hub id."""
    content = OmegaConf.to_container(OmegaConf.load(asset("model_shapes.yaml")))
    shapes = cast(dict[str, dict[str, Any]], content)
    return {hub_id: ModelShape(**shape) for hub_id, shape in shapes.items()}


def model_shape(hub_id: str) -> ModelShape:
    """The shape of one of them.

    Raises
    ------
    UserError
        Where the file has no such model.
    """
    try:
        return known_shapes()[hub_id]
    except KeyError:
        raise UserError(
            f"{hub_id}: no shape of this model is known without loading it; known are"
            f" {', '.join(known_shapes())} (pearl_eval/assets/model_shapes.yaml)"
        ) from None
