"""What the tokens of a forward read: each up to itself, and in bfloat16 with the same bits."""

from __future__ import annotations

import functools

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from decoders.model import cached_model
from decoders.model.cached_model import CachedModel
from decoders.model.packed import Layout, best_layout
from decoders.model.window import Window, invariant_window, plain_window

LIKE = torch.empty(1, dtype=torch.bfloat16)
TEXT = torch.randint(0, 300, (420,), generator=torch.Generator().manual_seed(0)).tolist()


def visible(window: Window) -> list[list[int]]:
    """The positions that each row of scores sees."""
    assert set(window.hidden_from.unique().tolist()) <= {0.0, -torch.inf}
    return [(row == 0).nonzero()[:, 0].tolist() for row in window.hidden_from]


def some(window: Window | None) -> Window:
    assert window is not None
    return window


def test_each_token_sees_those_before_it_and_itself_in_every_head() -> None:
    """Three tokens after four, two heads of queries that share keys."""
    window = plain_window(LIKE, 4, 3, 2)
    rows = [list(range(5)), list(range(6)), list(range(7))]
    assert visible(window) == rows + rows
    assert (window.extent, window.copied, window.prompt) == (7, 0, 0)
    assert visible(plain_window(LIKE, 4, 3, 1)) == rows


def test_an_invariant_window_has_queries_and_keys_to_spare() -> None:
    """Queries of a head come in fours, and what is beyond a token is hidden from it."""
    window = some(invariant_window(LIKE, 60, 3, 3, 2))
    assert window.hidden_from.shape == (2 * 4, 64)
    rows = [list(range(end)) for end in (61, 62, 63, 64)]
    assert visible(window) == rows + rows
    assert (window.extent, window.copied, window.prompt) == (64, 0, 0)
    assert some(invariant_window(LIKE, 60, 4, 1, 1)).hidden_from.shape == (4, 64)
    assert some(invariant_window(LIKE, 60, 5, 5, 1)).hidden_from.shape == (8, 128)


@pytest.mark.parametrize(
    ("seen", "extent"),
    [
        (1, 64),
        (60, 64),
        (61, 128),
        (124, 128),
        (125, 192),
        (188, 192),
        (189, 384),
        (380, 384),
        (381, 512),
        (508, 512),
        (509, 576),
        (572, 576),
        (1020, 1024),
        (1021, 1088),
        (1213, 1408),
    ],
)
def test_keys_are_read_up_to_the_ends_of_blocks(seen: int, extent: int) -> None:
    """Of 512, or of 64, 128, 192 or 384 of the last one; a single token has four queries."""
    window = some(invariant_window(LIKE, seen, 1, 1, 1))
    assert window.extent == window.hidden_from.shape[1] == extent


def test_a_prompt_is_read_as_if_nothing_came_behind_it() -> None:
    """Ten tokens begin a text, logits are wanted after the last four: seven are the prompt."""
    window = some(invariant_window(LIKE, 0, 10, 4, 1))
    assert window.prompt == 7
    assert visible(window) == [list(range(end)) for end in (8, 9, 10, 11)]
    assert invariant_window(LIKE, 0, 10, 1, 1) is None
    # All of them are wanted: then the first is what the others are read after.
    assert some(invariant_window(LIKE, 0, 10, 10, 1)).prompt == 1
    assert some(invariant_window(LIKE, 1, 10, 4, 1)).prompt == 0


def test_of_long_windows_no_mask_is_made() -> None:
    assert some(invariant_window(LIKE, 5, 1024, 1, 1)).hidden_from.shape == (1024, 1088)
    assert invariant_window(LIKE, 5, 1025, 1, 1) is None
    assert some(invariant_window(LIKE, 0, 1034, 1025, 1)).prompt == 10
    assert invariant_window(LIKE, 0, 1035, 1026, 1) is None


works = pytest.mark.skipif(
    best_layout([LIKE]) is Layout.plain, reason="this PyTorch packs no weights in bfloat16"
)


@functools.cache
def fused(dtype: torch.dtype = torch.bfloat16) -> CachedModel:
    """Fused in bfloat16; a layer's last product sums so much that one row does it otherwise."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=192,
        intermediate_size=2048,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=2048,
        initializer_range=0.1,
    )
    model = CachedModel(AutoModelForCausalLM.from_config(config).to(dtype))
    if dtype is torch.bfloat16:
        model.fuse()
    return model


def singly(model: CachedModel, start: int, end: int) -> torch.Tensor:
    """Logits after ``start`` tokens, the prompt, and after each until there are ``end``."""
    model.rollback(0)
    return torch.cat([model.extend(TEXT[:length], 1) for length in range(start, end + 1)])


@works
@pytest.mark.parametrize("prompt", [1, 5, 62, 126, 180, 250, 380])
def test_what_is_judged_in_a_window_has_the_bits_of_what_is_decoded_alone(prompt: int) -> None:
    """Right behind the prompt, and read at once with it."""
    model = fused()
    alone = singly(model, prompt, prompt + 12)
    for tokens in (2, 3, 4, 5, 7, 8, 12):
        model.rollback(prompt)
        window = model.extend(TEXT[: prompt + tokens], tokens)
        assert torch.equal(window, alone[1 : tokens + 1])
        model.rollback(0)
        at_once = model.extend(TEXT[: prompt + tokens], tokens + 1)
        assert torch.equal(at_once, alone[: tokens + 1])


@works
@pytest.mark.parametrize("prompt", [1, 30, 125])
def test_invariant_windows_are_as_near_the_truth_as_others(prompt: int) -> None:
    """Of bfloat16: off by 2 to 3 % of how much logits differ."""
    exact = fused(torch.float64)
    exact.rollback(0)
    expected = exact.extend(TEXT[: prompt + 40], prompt + 40)
    model = fused()
    alone = singly(model, prompt, prompt + 9)
    model.rollback(0)
    at_once = model.extend(TEXT[: prompt + 40], 41)
    for ours, rows in ((alone, slice(prompt - 1, prompt + 9)), (at_once, slice(prompt - 1, None))):
        wrong = (ours.double() - expected[rows]).square().mean().sqrt()
        assert float(wrong) < 0.04 * float(expected.std())


@works
def test_a_cache_grows_to_where_keys_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = singly(fused(), 60, 70)
    monkeypatch.setattr(cached_model, "INITIAL_CAPACITY", 8)
    small = CachedModel(fused().model)
    small._fused = fused().fused
    assert torch.equal(singly(small, 60, 70), alone)
    assert small.cache.capacity >= 128
