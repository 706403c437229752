"""Pairs with a dial: a target made of the draft model and further layers that disturb it."""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from decoders.model.cached_model import CachedModel
from decoders.process.models import Checkpoint
from pearl_eval.config.schema import check_seed
from pearl_eval.errors import UserError
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs.model_config import ModelConfig
from pearl_eval.pairs.pair import Pair, PairSource
from pearl_eval.pairs.pretrained import (
    config_architecture,
    load_model,
    read_config,
    read_tokenizer,
    stop_ids,
    weights_mark,
)
from pearl_eval.sizes.model_size import ModelSize

#: Tokens of the text on which the size of the added layers' output is measured.
_CALIBRATION_TOKENS = 128


@dataclass
class Controlled(PairSource):
    """A target built on the fly, without training: the draft's layers, then ``depth`` more.

    The added layers have random weights, scaled so that together they change the residual stream by
    ``perturbation`` of its size. So ``depth`` sets the speed ratio c and ``perturbation`` the
    acceptance rate, each without the other; docs/pairs.md has measured tables.

    Parameters
    ----------
    draft
        The draft model, of a Llama-like architecture.
    depth
        Number of layers the target has beyond the draft's.
    perturbation
        Size of their contribution over that of the residual stream; 0 makes target and draft agree
        always.
    seed
        Seed of the added layers.
    context
        Longest text of both models, in tokens; null is the draft model's own. A longer one computes
        as well, at positions that the draft model was not trained on.
    """

    draft: ModelConfig = field(default_factory=ModelConfig)
    depth: int = 8
    perturbation: float = 0.1
    seed: int = 0
    context: int | None = None

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ValueError(f"pair.depth must be at least 1 layer, got {self.depth}")
        if not 0.0 <= self.perturbation < float("inf"):
            raise ValueError(f"pair.perturbation must be at least 0, got {self.perturbation}")
        if self.context is not None and self.context < 1:
            raise ValueError(f"pair.context must be at least 1 token, got {self.context}")
        check_seed("pair.seed", self.seed)

    def sizes(self) -> dict[str, ModelSize]:
        config = read_config("draft", self.draft)
        return {"target": ModelSize.of(_deeper(config, self.depth)), "draft": ModelSize.of(config)}

    def open(self, devices: Devices, uses_draft: bool) -> Pair:
        config = read_config("draft", self.draft, devices.draft)
        tokens = self.context or config.max_position_embeddings
        config.max_position_embeddings = tokens
        tokenizer = read_tokenizer("draft", self.draft)
        sizes = {"target": ModelSize.of(_deeper(config, self.depth)), "draft": ModelSize.of(config)}
        vocab_size = min(len(tokenizer), config.vocab_size)
        mark = weights_mark("draft", self.draft)  # the target is made of the draft model
        checkpoint = self.draft.checkpoint("draft")
        load = functools.partial(_load, tokens, checkpoint, self.dtype.value)
        return Pair(
            tokenizer,
            sizes,
            stop_ids("draft", self.draft, tokenizer),
            functools.partial(
                deepen,
                functools.partial(load, devices.target, vocab_size, whole_head=True),
                self.depth,
                self.perturbation,
                self.seed,
            ),
            functools.partial(load, devices=devices.draft, vocab_size=vocab_size),
            {"target": mark, "draft": mark},
            architectures=dict.fromkeys(sizes, config_architecture(config)),
        )


def _load(context: int, draft: Checkpoint, dtype: str, *where: Any, **options: Any) -> CachedModel:
    """Load the draft model for texts of ``context`` tokens."""
    model = load_model(draft, dtype, *where, **options)
    model.model.config.max_position_embeddings = context
    return model


def _deeper(config: PreTrainedConfig, depth: int) -> PreTrainedConfig:
    """The config of a model with ``depth`` layers more."""
    deeper = copy.deepcopy(config)
    deeper.num_hidden_layers += depth
    if getattr(config, "layer_types", None):
        deeper.layer_types = [*config.layer_types, *[config.layer_types[-1]] * depth]
    return deeper


@torch.inference_mode()
def deepen(load: Any, depth: int, perturbation: float, seed: int) -> CachedModel:
    """Load a model and put ``depth`` disturbing layers behind its own."""
    base: CachedModel = load()
    own_layers = base.model.config.num_hidden_layers
    config = _deeper(base.model.config, depth)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=base.model.dtype)
        ids = torch.randint(base.vocab_size, (1, _CALIBRATION_TOKENS))
    model.load_state_dict(base.model.state_dict(), strict=False)
    model.to(base.device).eval()
    _scale(model, own_layers, ids.to(base.device), perturbation)
    return CachedModel(model, base.vocab_size)


def _scale(model: Any, own_layers: int, ids: torch.Tensor, perturbation: float) -> None:
    """Scale two outputs of each layer behind its own to their share of ``perturbation``.

    The outputs of random layers are about orthogonal, so their sizes add up as squares.
    """
    sizes: dict[nn.Module, float] = {}

    def measure(module: nn.Module, _: object, output: torch.Tensor) -> None:
        sizes[module] = float(output.float().square().mean().sqrt())

    def measure_stream(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes[module] = float(inputs[0].float().square().mean().sqrt())

    try:
        layers = model.model.layers[own_layers:]
        outputs: list[nn.Linear] = [
            module for layer in layers for module in (layer.self_attn.o_proj, layer.mlp.down_proj)
        ]
    except AttributeError as error:
        raise UserError(f"pair=controlled needs a Llama-like draft model: {error}") from error
    hooks = [module.register_forward_hook(measure) for module in outputs]
    hooks.append(layers[0].register_forward_pre_hook(measure_stream))
    model(input_ids=ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    share = perturbation * sizes[layers[0]] / len(outputs) ** 0.5
    for module in outputs:
        module.weight.mul_(share / sizes[module])
