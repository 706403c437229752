"""Pairs of trained models, from local folders or the hub."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from omegaconf import MISSING
from safetensors import SafetensorError, safe_open
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
from pearl_eval.config import RuntimeConfig
from pearl_eval.devices import Devices
from pearl_eval.errors import UserError
from pearl_eval.memory import cache_bytes, check_fits, free_bytes, weight_bytes
from pearl_eval.pair import Pair, PairSource

_INDEX = "model.safetensors.index.json"
#: Tokens of keys and values that the memory estimate makes room for.
_CACHED_TOKENS = 4096


@dataclass
class ModelConfig:
    """A model by local folder or hub id, and how many GPUs it is spread over, by layers."""

    path: str = MISSING
    revision: str | None = None
    gpus: int = 1


@dataclass
class Pretrained(PairSource):
    """A trained target and a trained draft model."""

    target: ModelConfig = field(default_factory=ModelConfig)
    draft: ModelConfig = field(default_factory=ModelConfig)

    def choose_devices(self, runtime: RuntimeConfig) -> Devices:
        return Devices.choose(
            runtime.target_device, runtime.draft_device, self.target.gpus, self.draft.gpus
        )

    def open(self, devices: Devices, uses_draft: bool) -> Pair:
        # The hub client's own account of each retry; what matters of it is in our error.
        hub_logging.set_verbosity_error()
        config = read_config("target", self.target)
        tokenizer = read_tokenizer("target", self.target)
        contexts = {"target": config.max_position_embeddings}
        needs = {"target": (devices.target, self._bytes(config))}
        vocab_size = min(len(tokenizer), config.vocab_size)
        if uses_draft:
            config = read_config("draft", self.draft)
            shared = shared_tokens(tokenizer, read_tokenizer("draft", self.draft))
            vocab_size = min(vocab_size, config.vocab_size, shared)
            contexts["draft"] = config.max_position_embeddings
            needs["draft"] = (devices.draft, self._bytes(config))
        check_fits(needs)
        dtype = self.dtype.value
        return Pair(
            tokenizer,
            contexts,
            stop_ids(self.target, tokenizer),
            functools.partial(load_model, self.target, dtype, devices.target, vocab_size),
            functools.partial(load_model, self.draft, dtype, devices.draft, vocab_size),
        )

    def _bytes(self, config: PreTrainedConfig) -> int:
        dtype = getattr(torch, self.dtype.value)
        tokens = min(config.max_position_embeddings, _CACHED_TOKENS)
        return weight_bytes(config, dtype) + cache_bytes(config, dtype, tokens)


def load_model(
    model: ModelConfig, dtype: str, devices: tuple[str, ...], vocab_size: int
) -> CachedModel:
    """Load a model's weights onto its device, or by layers over several."""
    transformers_logging.disable_progress_bar()
    arguments: dict[str, Any] = {"dtype": getattr(torch, dtype), "use_safetensors": True}
    if len(devices) > 1:
        arguments["device_map"] = "auto"
        arguments["max_memory"] = {
            torch.device(device).index: free_bytes(device) for device in devices
        }
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            model.path, revision=model.revision, **arguments
        )
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{model.path}: its weights can't be loaded: {reason}") from error
    if len(devices) == 1:
        loaded.to(devices[0])  # type: ignore[arg-type]
    return CachedModel(loaded, vocab_size)


def read_config(role: str, model: ModelConfig) -> PreTrainedConfig:
    """The model's config, or a clear word on what is missing."""
    if _looks_local(model.path):
        folder = Path(model.path).expanduser()
        if not folder.is_dir():
            raise UserError(f"pair.{role}.path={model.path}: there is no such folder")
        if not (folder / "config.json").is_file():
            raise UserError(f"pair.{role}.path={model.path}: no config.json there, so no model")
        check_weights(role, folder)
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


def shared_tokens(target: PreTrainedTokenizerBase, draft: PreTrainedTokenizerBase) -> int:
    """How many ids, from 0 on, mean the same token to both; refused where the tokenizers differ.

    One tokenizer may have further special tokens of its own at the end, as the members of some
    model families do; ids from there on are left out.
    """
    ours, theirs = ({i: t for t, i in tok.get_vocab().items()} for tok in (target, draft))
    size = max(max(ours), max(theirs)) + 1
    first = next((i for i in range(size) if ours.get(i) != theirs.get(i)), size)
    ordinary = [
        index
        for tokenizer, tokens in ((target, ours), (draft, theirs))
        for index in tokens
        if index >= first and index not in tokenizer.added_tokens_decoder
    ]
    if ordinary or first == 0:
        raise UserError(
            "draft and target have different vocabularies, so one can't draft for the other:"
            f" token {first} is {ours.get(first)!r} for the target, {theirs.get(first)!r} for the"
            " draft; choose a draft model with the target's tokenizer"
        )
    return first


def check_weights(role: str, folder: Path) -> None:
    """Refuse a folder whose safetensors files are missing, damaged or cut short, naming the file.

    Reads the files' headers, not the weights.
    """
    if (folder / _INDEX).is_file():
        index = json.loads((folder / _INDEX).read_text())
        files = [folder / name for name in sorted(set(index["weight_map"].values()))]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"pair.{role}.path={folder}: no *.safetensors weights there")
    for file in files:
        if not file.is_file():
            raise UserError(f"pair.{role}.path={folder}: the weight file {file.name} is missing")
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise UserError(
                f"pair.{role}.path={folder}: the weight file {file.name} is damaged or cut short"
                f" ({error}); get it again"
            ) from error
