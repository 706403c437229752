"""Small model pairs with random weights, saved as transformers saves models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

from decoders.model.cached_model import CachedModel

EOS = "<|eos|>"


def make_tokenizer(extra: list[str] | None = None) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 300 tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[EOS, *(extra or [])],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([Path(__file__).read_text()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS)


def make_model(vocab_size: int, layers: int, seed: int, context: int = 2048) -> LlamaForCausalLM:
    """A Llama with random weights whose greedy outputs vary."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config)


def make_mixture(noise: float = 0.0, dtype: torch.dtype = torch.bfloat16) -> MixtralForCausalLM:
    """A mixture of experts with random weights; more noise, another model than without."""
    torch.manual_seed(5)
    config = MixtralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=0,
        num_local_experts=8,
        num_experts_per_tok=2,
    )
    model = MixtralForCausalLM(config)
    torch.manual_seed(2)
    with torch.no_grad():
        for weights in model.parameters():
            weights += noise * torch.randn_like(weights)
    return model.to(dtype)


def running(pid: int) -> bool:
    """Whether a process exists and is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class SmallPair:
    """A saved pair: folders ``target`` and ``draft`` below ``folder``."""

    folder: Path

    @property
    def overrides(self) -> list[str]:
        """What makes a command run on this pair."""
        return [f"pair.{name}.path={self.folder / name}" for name in ("target", "draft")]

    def load_target(self) -> CachedModel:
        return load(self.folder / "target")

    def load_draft(self) -> CachedModel:
        return load(self.folder / "draft")


def load(folder: Path) -> CachedModel:
    torch.set_num_threads(1)
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return CachedModel(model)


def save_pair(folder: Path, noise: float = 0.02) -> SmallPair:
    """Save a pair below ``folder``; the draft is the target with some noise.

    More noise, lower acceptance rate; none, and the draft is always right.
    """
    tokenizer = make_tokenizer()
    target = make_model(len(tokenizer), layers=2, seed=1)
    draft = make_model(len(tokenizer), layers=2, seed=1)
    torch.manual_seed(2)
    with torch.no_grad():
        for weights in draft.parameters():
            weights += noise * torch.randn_like(weights)
    for name, model in (("target", target), ("draft", draft)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return SmallPair(folder)
