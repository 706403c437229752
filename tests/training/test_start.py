"""Going on from a draft model that was made before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_pair import make_model
from transformers import AutoModelForCausalLM

from pearl_eval.errors import UserError
from pearl_eval.pairs.frequent_tokens import FREQUENT, write_frequent
from pearl_eval.training.draft import go_on_from, kept_tokens, make_draft


def test_it_has_the_weights_of_the_one_made_before(tmp_path: Path) -> None:
    target = make_model(64, layers=4, seed=0)
    made = make_draft(target, [0, 3])
    with torch.no_grad():
        for weights in made.base_model.layers.parameters():
            weights.add_(0.25)
    made.save_pretrained(tmp_path)
    draft = make_draft(target, [0, 3])
    go_on_from(draft, tmp_path)
    own, other = draft.state_dict(), made.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in other)
    assert not torch.equal(
        own["model.layers.0.mlp.up_proj.weight"],
        target.state_dict()["model.layers.0.mlp.up_proj.weight"],
    )


def test_what_is_no_such_draft_model_is_refused(tmp_path: Path) -> None:
    target = make_model(64, layers=4, seed=0)
    with pytest.raises(UserError, match=r"draft\.start: there is no draft model in"):
        go_on_from(make_draft(target, [0, 3]), tmp_path)
    make_draft(target, [0, 1, 3]).save_pretrained(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.num_hidden_layers == 3
    with pytest.raises(UserError, match="has a model of other layers or sizes"):
        go_on_from(make_draft(target, [0, 3]), tmp_path)


def test_a_draft_model_of_other_sizes_is_refused(tmp_path: Path) -> None:
    target = make_model(64, layers=4, seed=0)
    draft = make_draft(target, [0, 3])
    draft.save_pretrained(tmp_path)
    path, name = tmp_path / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    saved = load_file(path)
    save_file(saved | {name: saved[name][:8].contiguous()}, path, {"format": "pt"})
    with pytest.raises(UserError, match="has a model of other layers or sizes"):
        go_on_from(draft, tmp_path)
    # What is its target's need not be there.
    own = {key: one for key, one in saved.items() if ".layers." in key}
    assert len(own) < len(saved)
    save_file({key: one + 1 for key, one in own.items()}, path, {"format": "pt"})
    go_on_from(draft, tmp_path)
    assert torch.equal(draft.state_dict()[name], saved[name] + 1)


def test_the_tokens_of_its_small_head_are_found(tmp_path: Path) -> None:
    assert kept_tokens(tmp_path, 64) is None
    write_frequent(tmp_path, torch.tensor([2, 40, 63]))
    kept = kept_tokens(tmp_path, 64)
    assert kept is not None and kept.tolist() == [2, 40, 63]
    with pytest.raises(UserError, match=rf"draft\.start: .*{FREQUENT} has a token that is not one"):
        kept_tokens(tmp_path, 63)
    (tmp_path / FREQUENT).write_text("[-1, 3]")
    with pytest.raises(UserError, match=r"has a token that is not one of the target's 64$"):
        kept_tokens(tmp_path, 64)
    (tmp_path / FREQUENT).write_text("[]")
    assert kept_tokens(tmp_path, 64) is None
    (tmp_path / FREQUENT).write_text("{")
    with pytest.raises(UserError, match="distil the draft model anew"):
        kept_tokens(tmp_path, 64)
