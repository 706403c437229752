"""Weights in oneDNN's order give the same products, and take the place of the plain ones."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from test_fused import CONFIGS, TOKENS, close, make
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from decoders.model import packed as packed_module
from decoders.model.cached_model import CachedModel
from decoders.model.fixed_window import FixedWindowModel
from decoders.model.norm import RootMeanSquareNorm
from decoders.model.packed import Layout, Projection, best_layout
from decoders.model.weights import WeightBytes, held_bytes

NARROW = [torch.float32, torch.bfloat16]


def packs(dtype: torch.dtype) -> bool:
    """Whether this PyTorch packs weights on this CPU: those in bfloat16 from AVX-512 on."""
    return best_layout([torch.ones(1, dtype=dtype)]) is not Layout.plain


works = pytest.mark.skipif(not packs(torch.float32), reason="this PyTorch packs no weights")
#: Those that are packed here.
PACKED = [
    pytest.param(dtype, marks=pytest.mark.skipif(not packs(dtype), reason="not packed here"))
    for dtype in NARROW
]


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model fits into caches, so that all are packed."""
    monkeypatch.setattr(packed_module, "CACHED", 0)


def linear(inputs: int, outputs: int, dtype: torch.dtype, bias: bool = False) -> nn.Linear:
    torch.manual_seed(outputs)
    return nn.Linear(inputs, outputs, bias).to(dtype).requires_grad_(False)


def exact(rows: torch.Tensor, *layers: nn.Linear) -> torch.Tensor:
    """In float64, which the weights' own dtype rounds."""
    every = [
        rows.double() @ one.weight.double().t() + (0 if one.bias is None else one.bias.double())
        for one in layers
    ]
    return torch.cat(every, dim=-1)


def rounded(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Off by float32's sums and one rounding to the dtype of what is given."""
    ulp = {torch.float32: 0.0, torch.bfloat16: 2.0**-8}[ours.dtype]
    torch.testing.assert_close(ours.double(), expected, rtol=1.01 * ulp, atol=2e-5)


@works
@pytest.mark.parametrize("dtype", PACKED, ids=str)
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("bias", [False, True])
def test_products_of_any_number_of_rows(
    dtype: torch.dtype, layout: Layout, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two layers of 40 and 23 outputs, which no kernel's blocks divide."""
    monkeypatch.setattr(packed_module, "SMALLEST", 0)
    layers = [linear(50, outputs, dtype, bias) for outputs in (40, 23)]
    ours = Projection(*layers, layout=layout)
    for count in (*range(1, 18), 150):
        rows = torch.randn(count, 50).to(dtype)
        rounded(ours(rows), exact(rows, *layers))
        if not bias:
            other = torch.randn(count, 63).to(dtype)
            rounded(ours(rows, other), exact(rows, *layers) + other.double())
            rounded(ours(rows[None])[0], exact(rows, *layers))


@works
@pytest.mark.parametrize(
    ("layout", "first"), [(Layout.packed, 1), (Layout.both, 4), (Layout.plain, 9)]
)
def test_which_products_read_packed_weights(
    layout: Layout, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of at least so many rows, added to anything or not; 500 × 200 weights are not few."""
    ours = Projection(linear(500, 200, torch.float32), layout=layout)
    few = Projection(linear(499, 200, torch.float32), layout=layout)
    read: list[str] = []
    for name in ("_alone", "_added"):
        monkeypatch.setattr(ours, name, lambda *_, name=name: read.append(name), raising=False)
    for count in range(1, 9):
        read.clear()
        ours(torch.zeros(count, 500))
        ours(torch.zeros(count, 500), torch.zeros(count, 200))
        assert read == (["_alone", "_added"] if count >= first else [])
    assert (ours.weight is None) is (layout is Layout.packed)
    assert (ours.packed_bytes >= 4 * 500 * 200) is (layout is not Layout.plain)
    # Few of them are packed only where the plain ones go.
    assert bool(few.packed_bytes) is (layout is Layout.packed)
    assert (few.weight is None) is (layout is Layout.packed)


@works
@pytest.mark.parametrize("dtype", PACKED, ids=str)
def test_few_rows_can_be_filled_up(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to four, of which only those that were given come back, added to theirs."""
    layer = linear(50, 40, dtype)
    ours = Projection(layer, layout=Layout.packed)
    packed_module.fill_rows([ours], alike=True)
    read: list[int] = []
    for name in ("_alone", "_added"):
        kernel = getattr(ours, name)

        def noted(rows: torch.Tensor, *others: Any, kernel: Any = kernel) -> torch.Tensor:
            read.append(len(rows))
            result: torch.Tensor = kernel(rows, *others)
            return result

        monkeypatch.setattr(ours, name, noted)
    for count in (1, 2, 3, 4, 5):
        rows, other = torch.randn(count, 50).to(dtype), torch.randn(count, 40).to(dtype)
        rounded(ours(rows), exact(rows, layer))
        rounded(ours(rows, other), exact(rows, layer) + other.double())
    assert read == [4, 4, 4, 4, 4, 4, 4, 4, 5, 5]


@works
@pytest.mark.parametrize(("alone", "filled", "fewest"), [(2.0, 1.0, 4), (1.0, 1.1, 1), (1, 1, 4)])
def test_rows_are_filled_up_where_that_is_no_slower(
    alone: float, filled: float, fewest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the quickest of each; tried on no more products than caches can't hold, all get it."""
    products = [Projection(linear(16, 16, torch.float32), layout=Layout.packed) for _ in range(9)]
    size = products[0].packed_bytes
    # Four times that is five products and a half, so that it takes six to be more.
    monkeypatch.setattr(packed_module, "CACHED", size * 11 // 8)
    tried: list[int] = []

    def seconds(some: list[Projection], rows: Any, repeats: int) -> dict[int, list[float]]:
        assert (rows, repeats) == ((1, 4), 5)
        tried.append(len(some))
        return {1: [9.0, alone, 9.0], 4: [filled, 9.0]}

    monkeypatch.setattr(packed_module, "_seconds", seconds)
    packed_module.fill_rows(products)
    assert [one.fewest for one in products] == [fewest] * 9
    assert tried == [6]


@works
def test_a_trial_times_products_of_each_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by as much as there are rows: two products of 1, then of 4."""
    products = [Projection(linear(16, 16, torch.float32), layout=Layout.packed) for _ in range(2)]
    now = [0.0]
    for product in products:
        kernel = product._alone

        def timed(rows: torch.Tensor, *others: Any, kernel: Any = kernel) -> torch.Tensor:
            now[0] += len(rows)
            result: torch.Tensor = kernel(rows, *others)
            return result

        monkeypatch.setattr(product, "_alone", timed)
    monkeypatch.setattr(packed_module.time, "perf_counter", lambda: now[0])
    assert packed_module._seconds(products, (1, 4), 3) == {1: [2.0] * 3, 4: [8.0] * 3}


@works
def test_which_models_fill_rows_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 all, so that rows have the same bits; in float32 those that gain by it."""
    calls: list[tuple[int, bool]] = []

    def noted(products: Any, alike: bool = False) -> None:
        calls.append((len(list(products)), alike))

    monkeypatch.setattr("decoders.model.fused.fill_rows", noted)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        CachedModel(make("llama", dtype)).fuse()
    monkeypatch.setattr(packed_module, "CACHED", 0)
    CachedModel(make("llama", torch.float32)).fuse()
    # Three layers of four products, and the head.
    assert calls == [(13, True)] * packs(torch.bfloat16) + [(13, False)]


@works
@pytest.mark.parametrize("dtype", PACKED, ids=str)
def test_weights_can_be_had_back(dtype: torch.dtype) -> None:
    """Rows of a wider dtype are multiplied by the very weights, in that dtype."""
    layer = linear(64, 48, dtype, bias=True)
    rows = torch.randn(3, 64, dtype=torch.float64)
    ours = Projection(layer, layout=Layout.packed)
    torch.testing.assert_close(ours(rows), exact(rows, layer), rtol=1e-13, atol=1e-13)


@works
def test_models_that_caches_hold_keep_both() -> None:
    most = packed_module.CACHED
    fits = torch.empty(most // 8)
    assert best_layout([fits, fits]) is Layout.both
    assert best_layout([fits, fits, torch.empty(1)]) is Layout.packed
    if packs(torch.bfloat16):
        assert best_layout([torch.empty(4, dtype=torch.bfloat16)]) is Layout.packed


@pytest.mark.parametrize(
    "weights",
    [
        [torch.ones(1, device="meta")],
        [torch.ones(1, dtype=torch.float64)],
        [torch.ones(1, dtype=torch.float16)],
        [torch.ones(1), torch.ones(1, device="meta")],
        [torch.ones(1), torch.ones(1, dtype=torch.bfloat16)],
    ],
    ids=["other device", "float64", "float16", "two devices", "two dtypes"],
)
def test_what_stays_plain(weights: list[torch.Tensor]) -> None:
    assert best_layout(weights) is Layout.plain


class Kernel:
    """A PyTorch's kernel that adds a number to what is right."""

    def __init__(self, alone: float = 0, added: float = 0) -> None:
        self._alone, self._added = alone, added

    def default(self, *arguments: Any) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise.default(*arguments) + self._alone

    def binary(self, *arguments: Any) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(*arguments) + self._added


@works
@pytest.mark.parametrize("dtype", PACKED, ids=str)
@pytest.mark.parametrize(
    "kernel", [object(), Kernel(alone=1), Kernel(added=1)], ids=["none", "alone", "added"]
)
def test_a_pytorch_without_these_operations(
    dtype: torch.dtype, kernel: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or one whose results are not right: nothing is packed."""
    tried = packed_module._works.__wrapped__
    monkeypatch.setattr(packed_module, "_kernel", Kernel)
    assert tried(dtype)
    monkeypatch.setattr(packed_module, "_kernel", lambda: kernel)
    assert not tried(dtype)
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not tried(dtype)


@works
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("name", ["llama", "llama, tied", "qwen2", "qwen3"])
def test_a_packed_model(name: str) -> None:
    """By itself, by transformers' own loops, and in a higher precision."""
    plain, ours = (CachedModel(make(name, torch.float32)) for _ in range(2))
    ours.fuse()
    assert ours.fused is not None and ours.fused.layers[0].down.weight is None
    for end, rows in ((7, 7), (8, 1), (20, 12), (21, 1), (23, 2)):
        close(ours.extend(TOKENS[:end], rows), plain.extend(TOKENS[:end], rows))
    ids = torch.tensor([TOKENS])
    with torch.inference_mode():
        close(ours.model(ids).logits, plain.model(ids).logits)
    wide, expected = ours.in_higher_precision(), plain.in_higher_precision()
    torch.testing.assert_close(
        wide.extend(TOKENS, 40), expected.extend(TOKENS, 40), rtol=1e-6, atol=1e-6
    )


@works
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_fixed_windows_are_the_same_bits(dtype: torch.dtype) -> None:
    ours = FixedWindowModel(make("llama", dtype))
    ours.fuse()
    block = ours.extend(TOKENS, len(TOKENS))
    ours.rollback(12)
    single = [ours.extend(TOKENS[:end], 1) for end in range(13, len(TOKENS) + 1)]
    assert torch.equal(torch.cat(single), block[12:])


@works
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("dtype", NARROW, ids=str)
@pytest.mark.parametrize(("tied", "extra"), [(False, 0), (True, 256 * 128)])
def test_plain_weights_are_gone(dtype: torch.dtype, tied: bool, extra: int) -> None:
    """What is held is what was loaded, and where embeddings are the head's, too, those packed."""
    sizes = {"vocab_size": 256, "hidden_size": 128, "intermediate_size": 192, "head_dim": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, **heads, tie_word_embeddings=tied)
    model = CachedModel(LlamaForCausalLM(config).to(dtype))
    layer: Any = model.model.model.layers[1]
    projections = (layer.self_attn.q_proj, layer.self_attn.o_proj, layer.mlp.down_proj)
    theirs = [weakref.ref(one.weight) for one in projections]
    del layer, projections
    before = held_bytes(model.model)
    model.fuse()
    assert not any(one() is not None for one in theirs)
    assert before == model.weight_bytes.all
    assert held_bytes(model.model) == before + extra * dtype.itemsize


def test_what_a_forward_reads() -> None:
    """All weights; where embeddings are not the head's, too, all but these, of 64 × 32."""
    untied, tied = (WeightBytes.of(make(name)) for name in ("llama", "llama, tied"))
    # Three layers of q and o 32 × 32, k and v 32 × 16, an MLP of 3 × 32 × 48, two norms; one more.
    layers = 3 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32) + 32
    assert tied == WeightBytes(8 * (layers + 64 * 32), 8 * (layers + 64 * 32))
    assert untied == WeightBytes(8 * (layers + 2 * 64 * 32), 8 * (layers + 64 * 32))


def test_what_a_mixture_reads_is_its_routers_to_say() -> None:
    config = MixtralConfig(**{**CONFIGS["llama"].to_dict(), "num_local_experts": 2})
    assert WeightBytes.of(MixtralForCausalLM(config)).read is None


@pytest.mark.parametrize("dtype", [*NARROW, torch.float64], ids=str)
def test_a_norm(dtype: torch.dtype) -> None:
    """Of 3 and 4 the mean square is 12.5; with 12.5 added, its root is 5."""
    norm = RootMeanSquareNorm(torch.tensor([1.0, 2.0], dtype=dtype), 12.5)
    rows = torch.tensor([[3.0, 4.0], [-3.0, 4.0]], dtype=dtype)
    expected = torch.tensor([[0.6, 1.6], [-0.6, 1.6]], dtype=torch.float64)
    ours = norm(rows)
    assert ours.dtype is dtype
    torch.testing.assert_close(ours, expected.to(dtype), rtol=1e-6, atol=0)
    # Rows of a wider dtype are not rounded to that of the weights.
    torch.testing.assert_close(norm(rows.double()), expected, rtol=1e-12, atol=0)
