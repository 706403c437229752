from __future__ import annotations

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


def test_more_rows_than_unseen_tokens_are_refused() -> None:
    cached = make_cached()
    cached.extend(TOKENS[:5], rows=1)
    with pytest.raises(ValueError, match="2 rows of logits asked of 1 unseen"):
        cached.extend(TOKENS[:6], rows=2)


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
    logits = cached.extend([1, 60, 2], rows=1)
    cached.rollback(0)
    assert torch.equal(logits, cached.extend([1, 0, 2], rows=1))
