"""Pairs of trained models, from local folders or the hub."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import torch
from huggingface_hub.utils import logging as hub_logging
from omegaconf import MISSING
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from decoders.model import CachedModel
from pearl_eval.devices import Devices
from pearl_eval.errors import UserError
from pearl_eval.pair import Pair, PairSource

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


@dataclass
class ModelConfig:
    """A model by local folder or hub id."""

    path: str = MISSING
    revision: str | None = None


@dataclass
class Pretrained(PairSource):
    """A trained target and a trained draft model."""

    target: ModelConfig = field(default_factory=ModelConfig)
    draft: ModelConfig = field(default_factory=ModelConfig)

    def open(self, devices: Devices, uses_draft: bool) -> Pair:
        # The hub client's own account of each retry; what matters of it is in our error.
        hub_logging.set_verbosity_error()
        target = read_config("target", self.target)
        tokenizer = read_tokenizer("target", self.target)
        contexts = {"target": target.max_position_embeddings}
        vocab_size = min(len(tokenizer), target.vocab_size)
        if uses_draft:
            draft = read_config("draft", self.draft)
            _check_same_tokens(tokenizer, read_tokenizer("draft", self.draft))
            contexts["draft"] = draft.max_position_embeddings
            vocab_size = min(vocab_size, draft.vocab_size)
        spec = functools.partial(ModelSpec, dtype=self.dtype.value, vocab_size=vocab_size)
        return Pair(
            tokenizer,
            contexts,
            stop_ids(self.target, tokenizer),
            functools.partial(
                load_model, spec(self.target.path, self.target.revision, device=devices.target)
            ),
            functools.partial(
                load_model, spec(self.draft.path, self.draft.revision, device=devices.draft)
            ),
        )


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to load a model, in this process or another."""

    path: str
    revision: str | None
    dtype: str
    device: str
    vocab_size: int


def load_model(spec: ModelSpec) -> CachedModel:
    """Load a model's weights onto its device."""
    transformers_logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        spec.path, revision=spec.revision, dtype=getattr(torch, spec.dtype), use_safetensors=True
    )
    model.to(spec.device)  # type: ignore[arg-type]
    return CachedModel(model, spec.vocab_size)


def read_config(role: str, model: ModelConfig) -> PreTrainedConfig:
    """The model's config, or a clear word on what is missing."""
    if _looks_local(model.path):
        folder = Path(model.path).expanduser()
        if not folder.is_dir():
            raise UserError(f"pair.{role}.path={model.path}: there is no such folder")
        if not (folder / "config.json").is_file():
            raise UserError(f"pair.{role}.path={model.path}: no config.json there, so no model")
        if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
            raise UserError(f"pair.{role}.path={model.path}: no *.safetensors weights there")
    try:
        return AutoConfig.from_pretrained(model.path, revision=model.revision).get_text_config()
    except (OSError, ValueError) as error:
        raise _not_readable(role, model, "config", error) from error


def read_tokenizer(role: str, model: ModelConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer, or a clear word on what is missing."""
    try:
        return AutoTokenizer.from_pretrained(model.path, revision=model.revision)
    except (OSError, ValueError) as error:
        raise _not_readable(role, model, "tokenizer", error) from error


def stop_ids(model: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a text: those of the generation config, else the tokenizer's own."""
    try:
        config = GenerationConfig.from_pretrained(model.path, revision=model.revision or "main")
        ids = config.eos_token_id
    except OSError:
        ids = None
    if ids is None:
        ids = tokenizer.eos_token_id
    if ids is None:
        return ()
    return tuple(ids) if isinstance(ids, list) else (ids,)


def _looks_local(path: str) -> bool:
    return path.startswith(("/", ".", "~")) or path.count("/") > 1 or Path(path).exists()


def _not_readable(role: str, model: ModelConfig, what: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"pair.{role}.path={model.path}: its {what} could not be read ({reason});"
        f" give a local folder by pair.{role}.path=, or log in to the hub if the model is gated"
    )


def _check_same_tokens(target: PreTrainedTokenizerBase, draft: PreTrainedTokenizerBase) -> None:
    """Refuse two tokenizers that mean different tokens by one id."""
    theirs, ours = ({i: t for t, i in tok.get_vocab().items()} for tok in (draft, target))
    for index in range(max(max(ours), max(theirs)) + 1):
        if ours.get(index) != theirs.get(index):
            raise UserError(
                "draft and target have different vocabularies, so one can't draft for the other:"
                f" token {index} is {ours.get(index)!r} for the target,"
                f" {theirs.get(index)!r} for the draft; choose a draft model with the target's"
                " tokenizer"
            )
