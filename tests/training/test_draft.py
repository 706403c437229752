"""A draft model made of a target's layers, its head, and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_pair import make_mixture, make_model, make_tokenizer
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pearl_eval.errors import UserError
from pearl_eval.pairs.frequent_tokens import FREQUENT, cut_head
from pearl_eval.training.draft import (
    check_head,
    frequent_tokens,
    make_draft,
    save_draft,
    spread,
)


@pytest.mark.parametrize(
    ("layers", "depth", "expected"),
    [
        (30, 1, [0]),
        (30, 2, [0, 29]),
        (30, 3, [0, 1, 29]),
        (30, 4, [0, 1, 15, 29]),
        (30, 5, [0, 1, 10, 19, 29]),
        (5, 4, [0, 1, 2, 4]),
        (4, 4, [0, 1, 2, 3]),
        (2, 2, [0, 1]),
        (1, 1, [0]),
    ],
)
def test_layers_are_the_first_two_the_last_and_some_between(
    layers: int, depth: int, expected: list[int]
) -> None:
    assert spread(layers, depth) == expected


@pytest.mark.parametrize("depth", [0, 31])
def test_more_layers_than_there_are_are_refused(depth: int) -> None:
    with pytest.raises(UserError, match=f"draft.depth must be 1 to 30.*got {depth}"):
        spread(30, depth)


def test_it_computes_as_the_targets_own_layers_in_a_row() -> None:
    target = make_model(300, 5, 0).eval()
    draft = make_draft(target, [0, 3, 4])
    assert draft.config.num_hidden_layers == 3 and target.config.num_hidden_layers == 5
    ids = torch.tensor([[5, 6, 7, 8]])
    got = draft(ids).logits
    target.model.layers = nn.ModuleList([target.model.layers[i] for i in (0, 3, 4)])
    for index, layer in enumerate(target.model.layers):
        layer.self_attn.layer_idx = index
    torch.testing.assert_close(got, target(ids).logits)
    # It has weights of its own.
    draft.model.layers[0].mlp.down_proj.weight.data.zero_()
    assert target.model.layers[0].mlp.down_proj.weight.any()


def test_what_a_config_says_of_each_layer_is_said_of_those_taken() -> None:
    kinds = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
    config = Qwen3Config(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, layer_types=kinds,
        sliding_window=4, use_sliding_window=True,
    )  # fmt: skip
    draft = make_draft(Qwen3ForCausalLM(config), [0, 2, 3])
    assert draft.config.layer_types == ["full_attention", "sliding_attention", "full_attention"]


def test_a_mixtures_layers_can_be_taken() -> None:
    target = make_mixture().float()
    assert len(make_draft(target, [0, 2]).model.layers) == 2


@pytest.mark.parametrize("layers", [[], [0, 5], [-1]])
def test_layers_that_are_not_there_are_refused(layers: list[int]) -> None:
    with pytest.raises(UserError, match="numbers of layers from 0 to 4, got"):
        make_draft(make_model(300, 5, 0), layers)


def test_layers_of_several_kinds_are_refused() -> None:
    target: Any = make_model(300, 2, 0)
    target.model.layers[1] = nn.Identity()
    with pytest.raises(UserError, match="a llama model can't be taken one by one"):
        make_draft(target, [0])


def test_a_head_that_is_more_than_a_product_is_refused() -> None:
    check_head(make_model(300, 1, 0))
    config = Gemma2Config(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, final_logit_softcapping=0.5,
        initializer_range=0.5,
    )  # fmt: skip
    with pytest.raises(UserError, match="a gemma2 model makes more of its last hidden states"):
        check_head(Gemma2ForCausalLM(config))


def test_the_most_frequent_tokens_are_taken_in_order_of_their_ids() -> None:
    texts = [torch.tensor(one) for one in ([9, 9, 9, 2, 2], [5, 5, 9, 7], [7, 2])]
    # 9 four times, 2 three times, 5 and 7 twice each: of those the first.
    assert found(texts, 3) == [2, 5, 9]
    assert found(texts, 4) == [2, 5, 7, 9]
    # Of those that never come, too.
    assert found(texts, 6) == [0, 1, 2, 5, 7, 9]
    assert frequent_tokens(texts, None, 10) is None
    assert frequent_tokens(texts, 10, 10) is None
    with pytest.raises(UserError, match="at least 1 token, or null for all, got 0"):
        frequent_tokens(texts, 0, 10)


def test_tokens_of_the_head_before_are_kept_and_frequent_ones_added() -> None:
    """9 comes four times, 2 three times, 5 and 7 twice each; 8 and 3 never."""
    texts = [torch.tensor(one) for one in ([9, 9, 9, 2, 2], [5, 5, 9, 7], [7, 2])]
    assert found(texts, 2, kept=[3, 8]) == [3, 8]
    assert found(texts, 3, kept=[3, 8]) == [3, 8, 9]
    assert found(texts, 4, kept=[7, 8]) == [2, 7, 8, 9]
    # Of a smaller head than that was none is kept for having been there.
    assert found(texts, 1, kept=[3, 8]) == [9]
    assert frequent_tokens(texts, None, 10, torch.tensor([3])) is None


def found(texts: list[torch.Tensor], head: int, kept: list[int] | None = None) -> list[int]:
    tokens = frequent_tokens(texts, head, 10, None if kept is None else torch.tensor(kept))
    assert tokens is not None
    return tokens.tolist()


def test_a_folder_is_an_ordinary_models_with_a_list_of_tokens(tmp_path: Path) -> None:
    draft = make_model(300, 1, 0)
    save_draft(draft, make_tokenizer(), torch.tensor([4, 8]), tmp_path)
    assert json.loads((tmp_path / FREQUENT).read_text()) == [4, 8]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype is torch.bfloat16 and draft.dtype is torch.float32
    ids = torch.tensor([[5, 6]])
    logits = loaded(ids).logits
    assert torch.isfinite(logits).all()
    cut_head(loaded, tmp_path)
    assert torch.isfinite(loaded(ids).logits[0, -1]).nonzero()[:, 0].tolist() == [4, 8]
    save_draft(draft, make_tokenizer(), None, tmp_path)
    assert not (tmp_path / FREQUENT).exists()
    cut_head(loaded, tmp_path)


@pytest.mark.parametrize("content", ["{}", "[1.5]", "[true]", "[-1]", "[300]", "[]", "[1", "7"])
def test_a_damaged_list_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / FREQUENT).write_text(content)
    with pytest.raises(UserError, match=r"frequent_tokens.json: .*; distil the draft model anew"):
        cut_head(make_model(300, 1, 0), tmp_path)
