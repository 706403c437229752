"""The pairs of the check, placed as on a machine with one GPU."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gpu_check.rows import rehearsed
from pearl_eval.config.paths import asset
from pearl_eval.config.schema import ForwardKind, RuntimeConfig
from pearl_eval.pairs.setup import Setup
from pearl_eval.sizes.model_shapes import ModelShape, model_shape

_TEXT = (
    "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n",
    "# Python\ndef is_prime(n):\n    if n < 2:\n        return False\n",
    "def reverse(text):\n    result = []\n    for character in",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self,",
)


@dataclass(frozen=True)
class ShapedPair:
    """Two shapes, by their hub ids, whose models are made up from nothing."""

    target: str
    draft: str

    def shapes(self) -> dict[str, ModelShape]:
        """By role; tiny ones in a rehearsal."""
        if rehearsed():
            return {"target": ModelShape(64, 176, 4, 4, 2, 2048, 4096), "draft": _TINY}
        return {"target": model_shape(self.target), "draft": _shape(self.draft)}

    def setup(self, forward: ForwardKind) -> Setup:
        shapes = self.shapes()
        node = {
            "_target_": "pearl_eval.pairs.synthetic.Synthetic",
            **{role: _sizes(shape) for role, shape in shapes.items()},
            "vocab_size": shapes["target"].vocab_size,
            "tokenizer": {"path": asset("tiny/target")},
            "acceptance_rate": 0.8,
            "dtype": "float32" if rehearsed() else "bfloat16",
        }
        return _made(OmegaConf.create(node), RuntimeConfig(forward=forward))


#: Its heads are wider than its hidden size says, as Qwen3's are.
_TINY = ModelShape(32, 88, 2, 2, 1, 2048, 4096, 32)
#: Llama 3.2 1B, which the package has no shape of.
_LLAMA_1B = "Llama 3.2 1B"
PAIRS = {
    "llama_1b_8b": ShapedPair("meta-llama/Llama-3.1-8B-Instruct", _LLAMA_1B),
    "qwen3_0b6_8b": ShapedPair("Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B"),
}


def _shape(hub_id: str) -> ModelShape:
    if hub_id == _LLAMA_1B:
        return ModelShape(2048, 8192, 16, 32, 8, 128256, 131072, 64, tie_word_embeddings=True)
    return model_shape(hub_id)


def _sizes(shape: ModelShape) -> dict[str, Any]:
    """What a synthetic model takes of a shape: its texts are short, its embeddings not tied."""
    left_out = ("vocab_size", "tie_word_embeddings", "query_key_norms")
    sizes = {name: size for name, size in asdict(shape).items() if name not in left_out}
    return sizes | {"max_position_embeddings": 4096}


def tiny(dtype: str, forward: str = "auto", **runtime: Any) -> Setup:
    """The pair that comes with the package."""
    node = {
        "_target_": "pearl_eval.pairs.pretrained.Pretrained",
        **{role: {"path": asset(f"tiny/{role}")} for role in ("target", "draft")},
        "dtype": dtype,
    }
    options = RuntimeConfig(forward=ForwardKind[forward], **runtime)
    return _made(OmegaConf.create(node), options)


def _made(pair: DictConfig, runtime: RuntimeConfig) -> Setup:
    setup = Setup.make(pair, runtime, uses_draft=True)
    if not setup.devices.all_cpu:
        return setup
    # As on a GPU: draft processes that import everything anew, on no cores of their own.
    draft = replace(setup.processes.draft, start_method="spawn")
    return replace(setup, processes=replace(setup.processes, draft=draft))


def prompts_of(setup: Setup, count: int) -> list[list[int]]:
    """Token ids of some prompts."""
    return [setup.pair.encode(text) for text in _TEXT[:count]]
