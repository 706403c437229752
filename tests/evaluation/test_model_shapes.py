"""Shapes of models that are not here, against transformers and against published counts."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from omegaconf import OmegaConf
from transformers import LlamaConfig, Qwen3Config

from pearl_eval.config.paths import config_dir
from pearl_eval.errors import UserError
from pearl_eval.sizes.model_shapes import model_shape
from pearl_eval.sizes.model_size import ModelSize

#: Weights as the models' pages on the hub count them.
PUBLISHED = {
    "codellama/CodeLlama-7b-Instruct-hf": 6_738_546_688,
    "codellama/CodeLlama-34b-Instruct-hf": 33_743_970_304,
    "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
    "meta-llama/Llama-2-70b-chat-hf": 68_976_648_192,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-70B-Instruct": 70_553_706_496,
    "deepseek-ai/deepseek-coder-33b-instruct": 33_342_991_360,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
}


@pytest.mark.parametrize("hub_id", PUBLISHED)
def test_weights_are_as_many_as_published(hub_id: str) -> None:
    assert model_shape(hub_id).weights == PUBLISHED[hub_id]


@pytest.mark.parametrize(
    ("hub_id", "config_class"),
    [("deepseek-ai/deepseek-coder-1.3b-instruct", LlamaConfig), ("Qwen/Qwen3-0.6B", Qwen3Config)],
)
def test_counts_are_those_of_the_model_itself(hub_id: str, config_class: type) -> None:
    shape = model_shape(hub_id)
    size = ModelSize.of(config_class(**asdict(shape) | {"head_dim": shape.head_width}))
    assert (shape.weights, shape.multiplied, shape.cached) == (
        size.weights,
        size.multiplied,
        size.cached,
    )


def test_every_pair_from_the_hub_has_its_shapes() -> None:
    pairs = [OmegaConf.load(path) for path in (config_dir() / "pair").glob("*.yaml")]
    paths = [
        pair[role].path
        for pair in pairs
        for role in ("target", "draft")
        if str(pair.get("_target_", "")).endswith("Pretrained")
        and not OmegaConf.is_interpolation(pair[role], "path")
        and pair[role].get("path") is not None
    ]
    assert len(paths) >= 16
    for path in paths:
        model_shape(path)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(UserError, match="no/such-model: no shape"):
        model_shape("no/such-model")
