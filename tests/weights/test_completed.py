"""Draft models without embeddings, completed with those of their target."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from small_pair import make_model, make_tokenizer
from transformers import AutoTokenizer

from pearl_eval.errors import UserError
from pearl_eval.weights import completed as completing
from pearl_eval.weights.cache import is_whole
from pearl_eval.weights.completed import completed, lacks_embeddings

EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"


@pytest.fixture(autouse=True)
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "assets"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    make_model(300, 2, 0).save_pretrained(tmp_path / "target")
    make_tokenizer().save_pretrained(tmp_path / "target")
    return tmp_path / "target"


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """One of bfloat16 without embeddings and head."""
    folder = tmp_path / "draft"
    make_model(300, 1, 1).to(torch.bfloat16).save_pretrained(folder)
    (folder / "frequent_tokens.json").write_text("[1, 2]")
    without(folder, EMBEDDINGS, HEAD)
    return folder


def without(folder: Path, *names: str) -> None:
    path = folder / "model.safetensors"
    kept = {name: one.clone() for name, one in load_file(path).items() if name not in names}
    save_file(kept, path, {"format": "pt"})


def test_a_folder_lacks_embeddings_where_its_one_file_has_none(draft: Path, target: Path) -> None:
    assert lacks_embeddings(draft)
    assert not lacks_embeddings(target)
    (draft / "model.safetensors").rename(draft / "model-00001-of-00001.safetensors")
    assert not lacks_embeddings(draft)


def test_it_has_its_own_layers_and_the_rest_of_its_target(draft: Path, target: Path) -> None:
    made = completed(draft, target, "mark")
    whole = load_file(made / "model.safetensors")
    own, theirs = (load_file(one / "model.safetensors") for one in (draft, target))
    assert whole.keys() == own.keys() | {EMBEDDINGS, HEAD}
    assert all(torch.equal(whole[name], one) for name, one in own.items())
    for name in (EMBEDDINGS, HEAD):
        assert torch.equal(whole[name], theirs[name].to(torch.bfloat16))
    assert (made / "frequent_tokens.json").read_text() == "[1, 2]"
    assert AutoTokenizer.from_pretrained(made)("def").input_ids


def test_there_must_be_room_for_all_of_it(
    draft: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two bytes a weight, its own and what it lacks."""
    asked: list[tuple[str, int]] = []
    monkeypatch.setattr(
        completing, "check_disk", lambda name, size, where: asked.append((name, size))
    )
    completed(draft, target, "mark")
    weights = sum(one.numel() for one in make_model(300, 1, 1).parameters())
    assert asked == [("draft", 2 * weights)]


def test_it_is_made_once_for_each_mark(draft: Path, target: Path) -> None:
    first = completed(draft, target, "mark")
    shutil.rmtree(draft)
    assert completed(draft, target, "mark") == first
    with pytest.raises((UserError, OSError)):
        completed(draft, target, "another")


def test_a_target_without_such_weights_is_refused(draft: Path, target: Path, assets: Path) -> None:
    without(target, HEAD)
    with pytest.raises(UserError, match=f"needs {HEAD} of its target, and .*target has none of it"):
        completed(draft, target, "mark")
    assert [path.name for path in (assets / "pearl_eval" / "weights").iterdir()] == ["lock"]


def test_embeddings_have_other_names_in_other_models(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for name, lacking in (("transformer.wte.weight", False), ("transformer.h.0.weight", True)):
        save_file({name: torch.zeros(1), "lm_head.weight": torch.zeros(1)}, path)
        assert lacks_embeddings(tmp_path) is lacking


@pytest.mark.parametrize(
    ("sizes", "whole"),
    [
        ('{"a": 3}', True),
        ("{}", True),
        ('{"a": 2}', False),
        ('{"a": 4}', False),
        ('{"a": 3, "b": 1}', False),
        ("[]", False),
        ("", False),
        (None, False),
    ],
)
def test_a_folder_is_whole_that_has_all_that_it_was_made_with(
    tmp_path: Path, sizes: str | None, whole: bool
) -> None:
    (tmp_path / "a").write_text("abc")
    if sizes is not None:
        (tmp_path / "sizes.json").write_text(sizes)
    assert is_whole(tmp_path) is whole
