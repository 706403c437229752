"""Fused layers compute what transformers' own do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_pair import make_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from decoders.model import cached_model as model_module
from decoders.model import cuda_graphs as static
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import FixedWindowModel
from decoders.model.tree import ROOT, Branches, Tree
from decoders.model.window import Window
from decoders.process.ends import layers_of

TOKENS = torch.randint(0, 64, (40,), generator=torch.Generator().manual_seed(0)).tolist()
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama 3": LlamaConfig(**SIZES, rope_parameters=LLAMA3_ROPE),
    "llama, biases": LlamaConfig(**SIZES, attention_bias=True),
    "llama, other biases": LlamaConfig(**SIZES, mlp_bias=True),
    "llama, another activation": LlamaConfig(**SIZES, hidden_act="gelu"),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "mistral, sliding": MistralConfig(**SIZES, sliding_window=8),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
}
REFUSED = ("llama, biases", "llama, other biases", "mistral, sliding")
FUSIBLE = [name for name in CONFIGS if name not in REFUSED]


def make(name: str, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """A model with random weights, biases and norms; the same again for the same name."""
    torch.manual_seed(1)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(CONFIGS[name])
    for weights in model.parameters():
        if weights.dim() == 1:
            torch.nn.init.uniform_(weights, 0.5, 1.5)
    return model.to(dtype)


def close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Transformers' norms compute in float32, whatever the model's dtype."""
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def fused(model: PreTrainedModel, static: bool = False) -> CachedModel:
    cached = CachedModel(model)
    cached.fuse(static)
    return cached


@pytest.mark.parametrize("static", [False, True], ids=["fused", "cuda_graphs"])
@pytest.mark.parametrize("name", FUSIBLE)
def test_a_text_in_pieces(name: str, static: bool) -> None:
    plain, ours = CachedModel(make(name)), fused(make(name), static)
    for end, rows in ((7, 7), (8, 1), (20, 12), (21, 1)):
        close(ours.extend(TOKENS[:end], rows), plain.extend(TOKENS[:end], rows))
    for model in (plain, ours):
        model.rollback(10)
    other = [*TOKENS[:10], 1, 2, 3]
    close(ours.extend(other, 2), plain.extend(other, 2))


@pytest.mark.parametrize("name", FUSIBLE)
def test_a_tree(name: str) -> None:
    tree = Tree()
    branches = Branches(tree)
    for branch in ([1, 2, 3], [1, 5], [7]):
        branches.add(branch)
    nodes = [ROOT, *range(len(tree))]
    plain, ours = CachedModel(make(name)), fused(make(name))
    for model in (plain, ours):
        model.extend(TOKENS[:9], 1)
    expected = plain.extend_tree(TOKENS[:11], tree, nodes)
    close(ours.extend_tree(TOKENS[:11], tree, nodes), expected)


def test_off_a_cpu_a_mask_has_a_row_for_each_token() -> None:
    """There heads that share keys, two here, are no further tokens of one."""
    forward = fused(make("llama")).fused
    assert forward is not None
    on_cpu = forward._window(4, 3, 3)
    assert isinstance(on_cpu, Window) and on_cpu.hidden_from.shape == (2 * 3, 7)
    forward._embedding = forward._embedding.to("meta")
    mask = forward._window(4, 3, 3)
    assert isinstance(mask, torch.Tensor) and mask.shape == (3, 7)


def test_fixed_shapes_over_buckets_in_a_growing_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are made once for each shape, and anew where the cache has moved."""
    monkeypatch.setattr(static, "BUCKET", 8)
    monkeypatch.setattr(model_module, "INITIAL_CAPACITY", 16)
    plain, ours = CachedModel(make("llama")), fused(make("llama"), static=True)
    for end in (5, 6, 8, 9, 15, 16, 17, 20, 33, 40):
        close(ours.extend(TOKENS[:end], 1), plain.extend(TOKENS[:end], 1))
        if end == 20:
            for model in (plain, ours):
                model.rollback(18)


@pytest.mark.parametrize("name", FUSIBLE)
def test_transformers_can_still_call_it(name: str) -> None:
    """Its own decoding loops do, and so does what needs a higher precision."""
    ids = torch.tensor([TOKENS])
    ours = fused(make(name))
    with torch.inference_mode():
        close(ours.model(ids).logits, make(name)(ids).logits)
    arguments: dict[str, Any] = {"max_new_tokens": 9, "do_sample": False}
    assert torch.equal(ours.model.generate(ids, **arguments), make(name).generate(ids, **arguments))


def test_rounding_is_that_of_the_dtype() -> None:
    exact = CachedModel(make("llama 3")).extend(TOKENS, 40)
    narrow = fused(make("llama 3", torch.bfloat16))
    torch.testing.assert_close(narrow.extend(TOKENS, 40).double(), exact, rtol=0.1, atol=0.3)


def test_higher_precision_is_that_of_the_plain_model() -> None:
    """Also the rotations, which are held in the model's dtype for its own forwards."""
    plain = CachedModel(make("llama 3", torch.bfloat16)).in_higher_precision()
    ours = fused(make("llama 3", torch.bfloat16)).in_higher_precision()
    close(ours.extend(TOKENS, 40), plain.extend(TOKENS, 40))


def test_fixed_windows() -> None:
    """Bit for bit the same in bfloat16, whether decoded alone or judged in a block."""
    ours = FixedWindowModel(make("llama", torch.bfloat16))
    ours.fuse()
    ours.extend(TOKENS[:12], 1)
    block = ours.extend(TOKENS, 28)
    ours.rollback(12)
    single = [ours.extend(TOKENS[:end], 1) for end in range(13, 41)]
    assert torch.equal(torch.cat(single), block)


def test_layers_can_still_be_watched() -> None:
    ours = fused(make("llama"))
    seen: list[int] = []
    layers_of(ours)[1].register_forward_pre_hook(lambda *_: seen.append(ours.length))
    ours.extend(TOKENS[:5], 1)
    assert seen == [5]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            lambda: AutoModelForCausalLM.from_config(GPT2Config(n_layer=1, n_embd=12, n_head=2)),
            "gpt2",
        ),
        (lambda: make("llama, biases"), "products have biases"),
        (lambda: make("llama, other biases"), "products have biases"),
        (lambda: make("mistral, sliding"), "attention slides"),
        (lambda: _eager(make_model(64, 1, 0)), "attention is eager"),
        (lambda: _long(make_model(64, 1, 0)), "rotary embedding is dynamic"),
    ],
    ids=[
        "other architecture",
        "biases",
        "other biases",
        "sliding attention",
        "eager attention",
        "dynamic rotation",
    ],
)
def test_what_cannot_be_fused_is_refused_and_left_alone(model: Any, reason: str) -> None:
    cached = CachedModel(model())
    before = cached.extend([1, 2, 3], 1)
    cached.rollback(0)
    with pytest.raises(ValueError, match=reason):
        cached.fuse()
    assert torch.equal(cached.extend([1, 2, 3], 1), before)


def test_a_model_that_is_spread_is_refused() -> None:
    model = make("llama")
    model.lm_head.to("meta")
    with pytest.raises(ValueError, match="it is spread over several devices"):
        CachedModel(model).fuse()


def _eager(model: PreTrainedModel) -> PreTrainedModel:
    model.set_attn_implementation("eager")
    return model


def _long(model: PreTrainedModel) -> PreTrainedModel:
    model.config.rope_parameters["rope_type"] = "dynamic"
    return model


def test_a_graph_is_recorded_on_the_models_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """By stand-ins for CUDA: which may have another device for its current one."""
    device = torch.device("cuda:1")
    within: list[object] = []
    seen: list[list[object]] = []
    waited: list[tuple[str, str]] = []
    replayed: list[str] = []

    @contextlib.contextmanager
    def inside(*what: object) -> Iterator[None]:
        within.extend(what)
        yield
        del within[-len(what) :]

    def stream(name: str, on: torch.device) -> SimpleNamespace:
        def wait_stream(other: SimpleNamespace) -> None:
            assert within == [device]
            waited.append((name, other.name))

        return SimpleNamespace(name=name, device=on, wait_stream=wait_stream)

    def compute() -> torch.Tensor:
        seen.append(list(within))
        return torch.tensor([1.0])

    made: list[SimpleNamespace] = []

    def new(on: torch.device) -> SimpleNamespace:
        made.append(stream("side", on))
        return made[-1]

    graph = SimpleNamespace(replay=lambda: replayed.append("once"))
    for name, stand_in in {
        "device": inside,
        "Stream": new,
        "current_stream": lambda: stream("current", within[-1]),  # type: ignore[arg-type]
        "stream": inside,
        "CUDAGraph": lambda: graph,
        "graph": lambda one, stream: inside(one, stream),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    forward = static.StaticForward(make("llama"))
    replay = forward._recorded(compute, device)
    (side,) = made
    assert side.device == device
    assert seen == [[device, side], [device, side], [device, graph, side]]
    assert waited == [("side", "current"), ("current", "side")]
    first, second = replay(), replay()
    assert replayed == ["once", "once"] and len(seen) == 3
    # What the next replay writes is not what the last one gave.
    assert first.equal(second) and first.data_ptr() != second.data_ptr()
    forward._recorded(compute, device)
    assert made == [side] and seen[3:] == seen[:3]
