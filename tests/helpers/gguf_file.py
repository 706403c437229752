"""GGUF files of small models, written as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from gguf import GGUFWriter, TokenType
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

#: What a GGUF calls the weights of a Llama's layer.
_OF_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OTHERS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def write_gguf(file: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write a Llama in float32, with its tokenizer and chat template."""
    writer = GGUFWriter(file, "llama")
    config = model.config
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tokenizer)
    for name, weights in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        writer.add_tensor(_name(name), _reordered(name, weights, model).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerFast) -> None:
    special = tokenizer.added_tokens_decoder
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    kinds = [TokenType.CONTROL if i in special else TokenType.NORMAL for i in range(len(tokens))]
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _name(name: str) -> str:
    whole, _, kind = name.rpartition(".")
    if whole in _OTHERS:
        return f"{_OTHERS[whole]}.{kind}"
    _, _, layer, inner = whole.split(".", 3)
    return f"blk.{layer}.{_OF_LAYER[inner]}.{kind}"


def _reordered(name: str, weights: torch.Tensor, model: LlamaForCausalLM) -> torch.Tensor:
    """Queries and keys have the two halves of each head's rows by turns in a GGUF."""
    heads = {
        "q_proj": model.config.num_attention_heads,
        "k_proj": model.config.num_key_value_heads,
    }.get(name.split(".")[-2])
    if heads is None:
        return weights.contiguous()
    halves = weights.reshape(heads, 2, -1, weights.shape[1])
    return halves.transpose(1, 2).reshape(weights.shape).contiguous()
