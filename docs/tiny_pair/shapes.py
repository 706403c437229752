"""The two models' shapes, as transformers configurations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_pair.corpus.document import END


@dataclass(frozen=True)
class Shape:
    """Size of one model: layers, hidden width, attention heads and MLP width."""

    layers: int
    width: int
    heads: int
    mlp: int


def build(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of ``shape`` with random weights drawn from ``seed``.

    Embeddings are tied, and context length and special tokens are the tokenizer's.
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=tokenizer.model_max_length,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        # A chat answer ends in <|end|>, any other text in <|eos|>.
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END)],
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def parameter_count(model: LlamaForCausalLM) -> int:
    """Number of parameters, tied ones counted once."""
    return sum(p.numel() for p in model.parameters())
