"""A head over some tokens: the same logits as a whole one there, none elsewhere."""

from __future__ import annotations

import pytest
import torch
from small_pair import SmallPair, make_model

from decoders.model.cached_model import CachedModel
from decoders.model.small_head import SmallHead, shrink_head

TOKENS = torch.tensor([7, 3, 120, 299, 3])
TEXT = [5, 9, 17, 4]


@pytest.mark.parametrize("fused", [False, True])
def test_logits_of_its_tokens_are_the_whole_heads(small_pair: SmallPair, fused: bool) -> None:
    whole, small = small_pair.load_draft(), small_pair.load_draft()
    shrink_head(small.model, TOKENS)
    if fused:
        whole.fuse()
        small.fuse()
    expected, got = whole.extend(TEXT, rows=3), small.extend(TEXT, rows=3)
    assert got.shape == expected.shape == (3, 300)
    own = [3, 7, 120, 299]
    torch.testing.assert_close(got[:, own], expected[:, own])
    others = [token for token in range(300) if token not in own]
    assert torch.isneginf(got[:, others]).all()


def test_it_holds_its_rows_only_and_the_embeddings_stay() -> None:
    model = make_model(300, 1, 0)
    embeddings = model.get_input_embeddings().weight.clone()
    shrink_head(model, TOKENS)
    head = model.get_output_embeddings()
    assert isinstance(head, SmallHead)
    assert head.project.weight.shape == (4, 32) and head.tokens.tolist() == [3, 7, 120, 299]
    assert torch.equal(model.get_input_embeddings().weight, embeddings)


def test_transformers_own_generate_chooses_among_its_tokens() -> None:
    model = make_model(300, 2, 1)
    shrink_head(model, TOKENS)
    ids = torch.tensor([TEXT])
    made = model.generate(ids, max_new_tokens=12, do_sample=False, eos_token_id=None)[0, 4:]
    assert len(made) == 12 and set(made.tolist()) <= {3, 7, 120, 299}


@pytest.mark.parametrize("tokens", [[], [-1, 3], [3, 300]])
def test_tokens_without_a_row_are_refused(tokens: list[int]) -> None:
    with pytest.raises(ValueError, match="expected ids of tokens below 300"):
        shrink_head(make_model(300, 1, 0), torch.tensor(tokens, dtype=torch.long))


def test_a_head_with_a_bias_is_refused() -> None:
    model = make_model(300, 1, 0)
    model.set_output_embeddings(torch.nn.Linear(32, 300))
    with pytest.raises(ValueError, match="bias"):
        shrink_head(model, TOKENS)


def test_a_draft_model_of_a_shorter_vocabulary_may_have_one_too(small_pair: SmallPair) -> None:
    model = make_model(280, 1, 3)
    shrink_head(model, torch.tensor([5, 279]))
    logits = CachedModel(model, vocab_size=300, known=280).extend(TEXT, rows=1)
    assert logits.shape == (1, 300)
    assert torch.isfinite(logits[0]).nonzero()[:, 0].tolist() == [5, 279]
