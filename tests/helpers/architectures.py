"""Tiny models of many architectures with random weights, of which greedy outputs vary."""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

#: Tokens that sliding and chunked attention see here.
WINDOW = 4
#: The longest text of the first set of rotations here.
SWITCH = 20
_MIXED = {"layer_types": ["sliding_attention", "full_attention"] * 2, "num_hidden_layers": 4}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [3.0] * 4,
    "original_max_position_embeddings": SWITCH,
}

#: transformers' name of a kind of model, and what its config has beside the common sizes, or
#: (None) not.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("llama", {}),
    "absolute positions": ("gpt2", {}),
    "sliding": ("mistral", {"sliding_window": WINDOW}),
    "some sliding": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, **_MIXED}),
    # As in Gemma 3, whose kinds of layers have rotations of their own.
    "rotations of each kind": ("gemma3_text", {"sliding_window": WINDOW, **_MIXED}),
    "half the window": (
        "modernbert-decoder",
        {"local_attention": 2 * WINDOW, "cls_token_id": 0, "sep_token_id": 0, **_MIXED},
    ),
    "sinks": (
        "gpt_oss",
        {"sliding_window": WINDOW, "num_local_experts": 2, "num_experts_per_tok": 1, **_MIXED},
    ),
    "chunked": (
        "llama4_text",
        {
            "attention_chunk_size": WINDOW,
            "num_local_experts": 2,
            "intermediate_size_mlp": 32,
            "layer_types": ["chunked_attention", "full_attention"],
            "no_rope_layers": [1, 0],
        },
    ),
    "shared keys": (
        "gemma3n_text",
        {
            "sliding_window": WINDOW,
            "vocab_size_per_layer_input": 64,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 2,
            "intermediate_size": [32] * 4,
            "activation_sparsity_pattern": [0.0] * 4,
            **_MIXED,
        },
    ),
    "two widths": (
        "gemma4_text",
        {
            "sliding_window": WINDOW,
            "global_head_dim": 16,
            "vocab_size_per_layer_input": 64,
            "hidden_size_per_layer_input": 8,
            "num_kv_shared_layers": 2,
            **_MIXED,
        },
    ),
    "longrope": (
        "phi3",
        {"rope_parameters": _LONGROPE, "original_max_position_embeddings": SWITCH},
    ),
    "alibi": ("bloom", {}),
    "alibi, too": ("mpt", {"max_seq_len": 128}),
    "alibi by a setting": (
        "falcon",
        {"alibi": True, "new_decoder_architecture": False, "head_dim": None},
    ),
    "local by the cache": (
        "gpt_neo",
        {"window_size": WINDOW, "attention_types": [[["global", "local"], 1]], "num_layers": 2},
    ),
    "recurrent": ("mamba", {}),
    "convolutions": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "linear attention": (
        "minimax",
        {"layer_types": ["linear_attention", "full_attention"], "num_local_experts": 2},
    ),
    "a state without layers": ("rwkv", {}),
    "an index": ("deepseek_v32", {}),
    "compressed": (
        "deepseek_v4",
        {"layer_types": ["heavily_compressed_attention", "compressed_sparse_attention"]},
    ),
    "both at once": ("falcon_h1", {}),
    "mixed": ("nemotron_h", {}),
    "patches": ("blt", {}),
    "tokens of its own": ("cpmant", {}),
    "several texts": ("musicgen", {}),
    "no cache": (
        "xlnet",
        {"max_position_embeddings": None, "hidden_size": None, "d_model": 32, "d_head": 8},
    ),
    "both directions": ("bert", {}),
    "both directions by a setting": ("gemma3_text", {"use_bidirectional_attention": True}),
    "an encoder": ("bart", {}),
    "a decoder of its own": ("bert", {"is_decoder": True}),
    "a setting nobody reads": ("gpt_neox", {}),
}
#: Kinds that read trees of texts.
BRANCHING = [
    "full",
    "absolute positions",
    "sliding",
    "some sliding",
    "rotations of each kind",
    "half the window",
    "sinks",
    "chunked",
    "shared keys",
    "two widths",
    "longrope",
]


def make_config(kind: str, **more: Any) -> PreTrainedConfig:
    name, own = KINDS[kind]
    common = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    settings = common | own | more
    return CONFIG_MAPPING[name](**{k: v for k, v in settings.items() if v is not None})


def make_architecture(kind: str, noise: float = 0.0, **more: Any) -> PreTrainedModel:
    """A model of one of ``KINDS``, its weights with some noise added.

    ``more`` are further settings of its config.
    """
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(make_config(kind, **more))
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(0, 0.25)
        for weights in model.parameters():
            weights += noise * torch.randn_like(weights)
    return model.float()
