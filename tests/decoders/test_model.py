from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import dispatch_model
from small_pair import make_model

from decoders.model import cached_model as model_module
from decoders.model.cached_model import CachedModel

TOKENS = torch.randint(0, 64, (40,), generator=torch.Generator().manual_seed(0)).tolist()


def make_cached() -> CachedModel:
    return CachedModel(make_model(64, layers=2, seed=0))


@torch.inference_mode()
def full_logits(cached: CachedModel, tokens: list[int]) -> torch.Tensor:
    return cached.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]


def test_extending_in_pieces_equals_one_forward() -> None:
    cached = make_cached()
    expected = full_logits(cached, TOKENS)
    pieces = [
        cached.extend(TOKENS[:end], rows) for end, rows in ((7, 7), (8, 1), (20, 12), (40, 20))
    ]
    torch.testing.assert_close(torch.cat(pieces), expected)


def test_rollback_is_exact() -> None:
    cached = make_cached()
    cached.extend(TOKENS[:30], rows=1)
    cached.rollback(10)
    assert cached.length == 10
    other = [*TOKENS[:10], 1, 2, 3]
    torch.testing.assert_close(cached.extend(other, rows=3), full_logits(cached, other)[10:])


def test_rollback_beyond_what_is_held_changes_nothing() -> None:
    cached = make_cached()
    cached.extend(TOKENS[:5], rows=1)
    cached.rollback(9)
    assert cached.length == 5


def test_cache_grows_past_its_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "INITIAL_CAPACITY", 4)
    cached = make_cached()
    expected = full_logits(cached, TOKENS)
    cached.extend(TOKENS[:3], rows=1)
    cached.extend(TOKENS[:6], rows=1)
    torch.testing.assert_close(cached.extend(TOKENS, rows=34), expected[6:])


def test_padded_vocabulary_is_cut_off() -> None:
    cached = CachedModel(make_model(64, layers=1, seed=0), vocab_size=50)
    assert cached.extend(TOKENS[:3], rows=2).shape == (2, 50)


@pytest.mark.parametrize(("end", "rows", "unseen"), [(6, 2, 1), (6, 0, 1), (5, 1, 0)])
def test_as_many_rows_as_unseen_tokens_and_at_least_one(end: int, rows: int, unseen: int) -> None:
    cached = make_cached()
    cached.extend(TOKENS[:5], rows=5)
    with pytest.raises(ValueError, match=f"{rows} rows of logits asked of {unseen} unseen"):
        cached.extend(TOKENS[:end], rows=rows)


@pytest.mark.parametrize(
    ("static", "told", "fixed"),
    [(None, "transformers", False), (False, "fused", False), (True, "cuda_graphs", True)],
)
def test_how_forwards_are_computed_is_told(static: bool | None, told: str, fixed: bool) -> None:
    cached = make_cached()
    if static is not None:
        cached.fuse(static)
    assert (cached.forward, cached.fixed_shapes) == (told, fixed)


@pytest.mark.parametrize("hooked", [False, True], ids=["plain", "spread-by-accelerate"])
def test_higher_precision_shares_the_weights_and_leaves_them_alone(hooked: bool) -> None:
    model = make_model(64, layers=2, seed=0).to(torch.bfloat16)
    exact = make_model(64, layers=2, seed=0).to(torch.bfloat16).to(torch.float32)
    if hooked:
        dispatch_model(model, device_map={"": "cpu"}, force_hooks=True)
    cached = CachedModel(model)
    wide = cached.in_higher_precision().extend(TOKENS, rows=40)
    assert wide.dtype is torch.float32
    torch.testing.assert_close(wide, full_logits(CachedModel(exact), TOKENS))
    assert all(weights.dtype is torch.bfloat16 for weights in model.parameters())
    assert cached.extend(TOKENS, rows=1).dtype is torch.bfloat16


def test_a_token_the_model_does_not_know_is_read_as_another() -> None:
    cached = CachedModel(make_model(64, layers=1, seed=0), vocab_size=50)
    read = {}
    for token in (0, 49, 50, 60):
        cached.rollback(0)
        read[token] = cached.extend([1, token, 2], rows=1)
    assert torch.equal(read[60], read[0]) and torch.equal(read[50], read[0])
    assert not torch.equal(read[49], read[0])
    assert cached.readable(torch.tensor([[0, 49, 50, 60]])).tolist() == [[0, 49, 0, 0]]


def test_weights_are_as_they_were_where_higher_precision_fails() -> None:
    model: Any = make_model(64, layers=2, seed=0).to(torch.bfloat16)

    def fails(*_: object) -> None:
        raise RuntimeError("out of memory")

    model.model.layers[1].mlp.down_proj.register_forward_hook(fails)
    wide = CachedModel(model).in_higher_precision()
    with pytest.raises(RuntimeError, match="out of memory"):
        wide.extend(TOKENS, rows=1)
    assert {weights.dtype for weights in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("other", [CachedModel.as_library, CachedModel.in_higher_precision])
def test_a_model_that_computes_otherwise_has_the_same_vocabulary(
    other: Callable[[CachedModel], CachedModel],
) -> None:
    cached = CachedModel(make_model(64, layers=1, seed=0), vocab_size=60, known=50)
    logits = other(cached).extend([1, 55, 2], rows=1)
    assert logits.shape == (1, 60)
    assert torch.isfinite(logits[0]).nonzero()[:, 0].tolist() == list(range(50))
