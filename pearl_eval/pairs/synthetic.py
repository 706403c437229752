"""Pairs of any size without weights: real forwards, tokens from an oracle."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from decoders.model.cached_model import CachedModel
from pearl_eval.config.schema import check_seed
from pearl_eval.errors import UserError
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs.model_config import ModelConfig
from pearl_eval.pairs.pair import Pair, PairSource
from pearl_eval.pairs.pretrained import read_tokenizer
from pearl_eval.sizes.model_size import ModelSize

_MASK = 2**64 - 1
#: Logit of the oracle's token; more than any random model gives, and exact in every dtype.
_CERTAIN = 4096.0


@dataclass
class LlamaShape:
    """Sizes of a Llama-like model, as ``LlamaConfig`` names them.

    ``head_dim`` null: hidden_size / num_attention_heads.
    """

    hidden_size: int = 256
    intermediate_size: int = 704
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 4096
    head_dim: int | None = None

    def config(self, vocab_size: int) -> LlamaConfig:
        return LlamaConfig(vocab_size=vocab_size, tie_word_embeddings=False, **asdict(self))


def _draft_shape() -> LlamaShape:
    return LlamaShape(num_hidden_layers=2)


@dataclass
class Synthetic(PairSource):
    """Models of given shapes with random weights whose tokens come from a seeded oracle.

    Every forward is real, so times are those of models of these shapes on this hardware. The
    oracle replaces what the forward says: the target's next token is a function of the seed, the
    position and the last token; the draft model says the same with probability
    ``acceptance_rate``. Both are the same for every decoder. The text means nothing.

    Parameters
    ----------
    target, draft
        Shapes of the two models.
    vocab_size
        Size of both vocabularies.
    acceptance_rate
        Probability that the draft model's token is the target's, at each position alone.
    seed
        Seed of the weights and the oracle.
    tokenizer
        Turns prompts into token ids, so that they have the lengths of real ones.
    """

    target: LlamaShape = field(default_factory=LlamaShape)
    draft: LlamaShape = field(default_factory=_draft_shape)
    vocab_size: int = 32000
    acceptance_rate: float = 0.8
    seed: int = 0
    tokenizer: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        if not 0.0 <= self.acceptance_rate <= 1.0:
            raise ValueError(
                f"pair.acceptance_rate is a probability, from 0 to 1, got {self.acceptance_rate}"
            )
        check_seed("pair.seed", self.seed)

    def sizes(self) -> dict[str, ModelSize]:
        shapes = {"target": self.target, "draft": self.draft}
        return {role: ModelSize.of(s.config(self.vocab_size)) for role, s in shapes.items()}

    def target_settings(self) -> dict[str, Any]:
        settings = super().target_settings()
        return {k: v for k, v in settings.items() if k not in ("draft", "acceptance_rate")}

    def open(self, devices: Devices, uses_draft: bool) -> Pair:
        tokenizer = read_tokenizer("tokenizer", self.tokenizer)
        if len(tokenizer) > self.vocab_size:
            raise UserError(
                f"pair.vocab_size={self.vocab_size} is less than the {len(tokenizer)} tokens of"
                " pair.tokenizer"
            )
        sizes = {"target": ModelSize.of(self.target.config(self.vocab_size))}
        if uses_draft:
            sizes["draft"] = ModelSize.of(self.draft.config(self.vocab_size))
        load = functools.partial(
            load_synthetic, vocab_size=self.vocab_size, dtype=self.dtype.value, seed=self.seed
        )
        return Pair(
            tokenizer,
            sizes,
            (),
            functools.partial(load, self.target, devices=devices.target, agreement=1.0),
            functools.partial(
                load, self.draft, devices=devices.draft, agreement=self.acceptance_rate
            ),
            synthetic=True,
        )


def load_synthetic(
    shape: LlamaShape,
    devices: tuple[str, ...],
    vocab_size: int,
    dtype: str,
    seed: int,
    agreement: float,
) -> SyntheticModel:
    """Make a model of a shape with random weights, on the first of its devices from the start."""
    with torch.random.fork_rng(), torch.device(devices[0]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM._from_config(shape.config(vocab_size), dtype=getattr(torch, dtype))
    return SyntheticModel(model, seed, agreement)


class SyntheticModel(CachedModel):
    """A model whose forwards are real and whose predictions are an oracle's.

    Parameters
    ----------
    model
        The model that runs.
    seed
        Seed of the oracle, shared by target and draft.
    agreement
        Probability that it predicts the oracle's token; 1 for the target.
    """

    def __init__(self, model: PreTrainedModel, seed: int, agreement: float) -> None:
        super().__init__(model)
        self._seed = seed
        self._agreement = agreement

    def predictions(self, logits: torch.Tensor, read: Sequence[tuple[int, int]]) -> torch.Tensor:
        logits = super().predictions(logits, read)
        # One by one: lists of indices would have to go to a GPU, which waits for its forward.
        for row, one in zip(logits, read, strict=True):
            row[self.predict(*one)] = _CERTAIN
        return logits

    def predict(self, position: int, token: int) -> int:
        """The token predicted to follow ``token`` at ``position``."""
        right = _mix(self._seed, position, token, 0) % self.vocab_size
        if _mix(self._seed, position, token, 1) / _MASK < self._agreement:
            return right
        # Any other token, each as likely.
        step = 1 + _mix(self._seed, position, token, 2) % (self.vocab_size - 1)
        return (right + step) % self.vocab_size

    def in_higher_precision(self) -> SyntheticModel:
        """The same with a cache of its own: the oracle has no rounding error."""
        return SyntheticModel(self.model, self._seed, self._agreement)


def _mix(*values: int) -> int:
    """A 64-bit hash of some integers (the finalizer of SplitMix64, folded over them)."""
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state
