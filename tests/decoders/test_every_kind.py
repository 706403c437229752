"""Every causal language model that transformers has: decoded as it is, or refused in one line."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.cache_utils import (
    DYNAMIC_LAYER_TYPE_MAPPING,
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from decoders.model.architecture import unfit
from decoders.model.cached_model import CachedModel
from pearl_eval.errors import UserError
from pearl_eval.pairs.pretrained import check_kind

#: Layers of transformers' caches that hold keys and values by position, or nothing.
CUT_BACK = {DynamicLayer, DynamicSlidingWindowLayer, DummyLayer}
KEPT = sorted(kind for kind, layer in DYNAMIC_LAYER_TYPE_MAPPING.items() if layer not in CUT_BACK)


def made(kind: str) -> PreTrainedConfig:
    """The config that a kind of model has where nothing is said."""
    try:
        config: PreTrainedConfig = CONFIG_MAPPING[kind]()
    except StrictDataclassError as error:
        pytest.skip(f"it has no config where nothing is said: {type(error).__name__}")
    return config


def refusal(config: PreTrainedConfig) -> str:
    try:
        check_kind(config)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KEPT)
def test_every_kind_of_layer_that_keeps_more_is_refused_by_its_name(kind: str) -> None:
    config: Any = SimpleNamespace(layer_types=["full_attention", kind], model_type="any")
    said = unfit(config, LlamaForCausalLM)
    assert said.startswith(f"with layers of {kind} (") and said.endswith("back to earlier tokens")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["full_attention", "sliding_attention", "chunked_attention"], ""),
        (["full_attention", "moe"], "some of whose layers have no attention"),
        (["mlp", "full_attention"], "some of whose layers have no attention"),
        (["novel", "moe"], "with layers of novel, which can't go back to earlier tokens"),
        (
            ["full_attention", "novel", "conv", "novel"],
            "with layers of conv (the last inputs of a convolution) and novel, which can't go back"
            " to earlier tokens",
        ),
    ],
)
def test_what_is_said_of_layers(layers: list[str], expected: str) -> None:
    config: Any = SimpleNamespace(layer_types=layers, model_type="any")
    assert unfit(config, LlamaForCausalLM) == expected


def test_there_are_such_kinds() -> None:
    assert {"linear_attention", "conv", "hybrid", "indexed_attention"} <= set(KEPT)
    for kind in ("full_attention", "sliding_attention", "chunked_attention"):
        assert kind in DYNAMIC_LAYER_TYPE_MAPPING and kind not in KEPT


every_kind = pytest.mark.parametrize("kind", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


@pytest.mark.nightly
@every_kind
def test_what_transformers_caches_otherwise_is_refused_by_its_name(kind: str) -> None:
    config = made(kind)
    line = refusal(config)
    assert len(line.splitlines()) <= 1
    if line:
        assert line.startswith(f"a {config.model_type} model, w")
    if "no causal language model" in line:
        return
    text: Any = config.get_text_config()
    others = set(getattr(text, "layer_types", None) or ()) - {"moe", "mlp"}
    others = {one for one in others if DYNAMIC_LAYER_TYPE_MAPPING.get(one) not in CUT_BACK}
    for one in others:
        assert f"{one} (" in line
    if not line:
        assert {type(layer) for layer in DynamicCache(config=config).layers} <= CUT_BACK
        assert not MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._is_stateful


#: Sizes of a small model, by the names that configs have for them.
SMALL = {
    "vocab_size": 64,
    "vocab_size_per_layer_input": 64,
    "max_position_embeddings": 128,
    "n_positions": 128,
    "max_seq_len": 128,
    "num_hidden_layers": 2,
    "n_layers": 2,
    "num_kv_shared_layers": 0,
    "num_attention_heads": 4,
    "n_heads": 4,
    "num_key_value_heads": 2,
    "num_global_key_value_heads": 2,
    "hidden_size": 32,
    "d_model": 32,
    "hidden_size_per_layer_input": 8,
    "word_embed_proj_dim": 32,
    "intermediate_size": 32,
    "moe_intermediate_size": 16,
    "ffn_dim": 32,
    "ffn_hidden_size": 32,
    "dff": 32,
    "head_dim": 8,
    "global_head_dim": 8,
    "kv_channels": 8,
    "rotary_dim": 4,
    "sliding_window": 4,
    "attention_chunk_size": 4,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
#: Of attention over latent vectors, whose heads all have keys and values of their own.
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
#: What else some kinds need, or (None) can't be told.
OWN: dict[str, dict[str, Any]] = {
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {
            "ffn_act_fn": {"name": "silu"},
            "ffn_hidden_size": 32,
            "moe_num_experts": 4,
            "moe_top_k": 2,
        },
    },
    "dots1": {"num_experts_per_tok": 2, "n_routed_experts": 4, "n_shared_experts": 1},
    "falcon": {"head_dim": None},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 4},
}
#: Kinds of which no small model can be made so: test_architecture.py has some by hand.
UNMADE = {
    "cohere_compass_text",
    "gemma4_text",
    "gemma4_unified_text",
    "lfm2_moe",
    "phi4_multimodal",
}


def small(kind: str) -> PreTrainedModel:
    """A small model of a kind, with random weights of which outputs depend on the whole text."""
    default = made(kind)
    if refusal(default):
        pytest.skip("it is refused")
    if default.get_text_config() is not default:
        pytest.skip("its text is read by a model of another kind")
    if default.model_type in UNMADE:
        pytest.skip("no small model can be made by these sizes")
    sizes = SMALL | (LATENT if hasattr(default, "kv_lora_rank") else {})
    own = OWN.get(default.model_type, {})
    known = {name: size for name, size in sizes.items() if hasattr(default, name)} | own
    known = {name: size for name, size in known.items() if size is not None}
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(type(default)(**known)).float().eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(0, 0.25)
    return model


@pytest.mark.nightly
@every_kind
def test_texts_are_read_in_pieces_and_taken_back(kind: str) -> None:
    cached = CachedModel(small(kind))
    text, other = torch.randint(1, 60, (2, 30), generator=torch.Generator().manual_seed(1)).tolist()

    def check(text: list[int], rows: int) -> None:
        with torch.inference_mode():
            whole = cached.model(torch.tensor([text]), use_cache=False).logits[0, -rows:]
        torch.testing.assert_close(cached.extend(text, rows), whole, rtol=1e-3, atol=1e-3)

    for end, rows in ((17, 17), (18, 1), (22, 4)):
        check(text[:end], rows)
    cached.rollback(13)
    for end, rows in ((15, 2), (20, 5)):
        check(text[:13] + other[13:end], rows)
    cached.rollback(0)
    check(other[:6], 6)
