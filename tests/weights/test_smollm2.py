"""The draft model that ships for SmolLM2-135M-Instruct."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from pearl_eval.config.paths import asset
from pearl_eval.pairs.frequent_tokens import FREQUENT
from pearl_eval.weights.completed import lacks_embeddings

FOLDER = Path(asset("smollm2"))


def test_it_ships_with_what_is_its_own_alone() -> None:
    """At most 30 MB, in bfloat16, without embeddings; its head proposes 16,384 tokens."""
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 30e6
    assert lacks_embeddings(FOLDER)
    weights = load_file(FOLDER / "model.safetensors")
    assert {one.dtype for one in weights.values()} == {torch.bfloat16}
    assert all(bool(one.isfinite().all()) for one in weights.values())
    config = json.loads((FOLDER / "config.json").read_text())
    assert (config["num_hidden_layers"], config["vocab_size"]) == (4, 49152)
    tokens = json.loads((FOLDER / FREQUENT).read_text())
    assert tokens == sorted(set(tokens)) and len(tokens) == 16384
    assert tokens[0] >= 0 and tokens[-1] < 49152
