"""The model pair: found, checked, and loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as transformers_logging

from decoders.model import CachedModel
from pearl_eval.config import ModelConfig, PairConfig
from pearl_eval.errors import UserError

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


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


@dataclass(frozen=True)
class Devices:
    """Where the two models are, as torch names devices."""

    target: str
    draft: str

    @classmethod
    def choose(cls, target: str, draft: str) -> Devices:
        """``auto`` is a GPU of its own for each model where there are two, else the first, else
        the CPU."""
        gpus = torch.cuda.device_count()
        automatic = [f"cuda:{min(i, gpus - 1)}" if gpus else "cpu" for i in range(2)]
        chosen = [a if d == "auto" else d for d, a in zip((target, draft), automatic, strict=True)]
        for device in chosen:
            try:
                kind = torch.device(device).type
            except RuntimeError:
                raise UserError(f"no such device: {device} (auto, cpu, cuda, cuda:N)") from None
            if kind == "cuda" and not gpus:
                raise UserError(f"device {device} was asked for, but there is no CUDA device here")
        return cls(*chosen)

    @property
    def all_cpu(self) -> bool:
        return self.target == self.draft == "cpu"


class Pair:
    """A target model and a draft model that share a tokenizer.

    Making one reads configs and tokenizers and checks them against each other; weights are loaded
    by ``load_target`` and ``load_draft``.

    Parameters
    ----------
    config
        Paths, revisions and dtype.
    devices
        Where the models go.
    uses_draft
        Whether the draft model is needed; if not it is not looked at.
    """

    def __init__(self, config: PairConfig, devices: Devices, uses_draft: bool) -> None:
        # The hub client's own account of each retry; what matters of it is in our error.
        hub_logging.set_verbosity_error()
        self._config = config
        self._devices = devices
        self._target_config = _model_config("target", config.target)
        self.tokenizer = _tokenizer("target", config.target)
        self._contexts = {"target": _context(self._target_config)}
        self._vocab_size = min(len(self.tokenizer), self._target_config.vocab_size)
        if uses_draft:
            draft_config = _model_config("draft", config.draft)
            _check_same_tokens(self.tokenizer, _tokenizer("draft", config.draft))
            self._contexts["draft"] = _context(draft_config)
            self._vocab_size = min(self._vocab_size, draft_config.vocab_size)
        self.stop_ids = _stop_ids(config.target, self.tokenizer)

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt."""
        return list(self.tokenizer(prompt).input_ids)

    def decode(self, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> str:
        """Text of generated tokens, exactly as it continues the prompt.

        Some tokenizers drop a leading space when they decode a piece alone, so the prompt is
        decoded along and cut off.
        """
        head, whole, alone = (
            str(self.tokenizer.decode(ids, skip_special_tokens=True))
            for ids in (list(prompt_ids), [*prompt_ids, *output_ids], list(output_ids))
        )
        return whole[len(head) :] if whole.startswith(head) else alone

    def check_context(self, names: Sequence[str], prompts: Sequence[int], limit: int) -> None:
        """Refuse prompts (given by name and length in tokens) that leave no room for ``limit``."""
        for role, context in self._contexts.items():
            for name, length in zip(names, prompts, strict=True):
                if length + limit > context:
                    room = context - max(prompts)
                    remedy = (
                        f"lower task.max_new_tokens to at most {room}"
                        if room > 0
                        else "take a model with a longer context"
                    )
                    raise UserError(
                        f"{name}: a prompt of {length} tokens and task.max_new_tokens={limit} do"
                        f" not fit the {role} model's context of {context} tokens; {remedy}"
                    )

    def load_target(self) -> CachedModel:
        return load_model(self._spec(self._config.target, self._devices.target))

    @property
    def load_draft(self) -> Callable[[], CachedModel]:
        """A picklable function that loads the draft model where it is called."""
        return functools.partial(load_model, self._spec(self._config.draft, self._devices.draft))

    def _spec(self, model: ModelConfig, device: str) -> ModelSpec:
        return ModelSpec(
            model.path, model.revision, self._config.dtype.value, device, self._vocab_size
        )


def _looks_local(path: str) -> bool:
    return path.startswith(("/", ".", "~")) or path.count("/") > 1 or Path(path).exists()


def _model_config(role: str, model: ModelConfig) -> PreTrainedConfig:
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
        raise _not_loadable(role, model, "config", error) from error


def _tokenizer(role: str, model: ModelConfig) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(model.path, revision=model.revision)
    except (OSError, ValueError) as error:
        raise _not_loadable(role, model, "tokenizer", error) from error


def _not_loadable(role: str, model: ModelConfig, what: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"pair.{role}.path={model.path}: its {what} could not be read ({reason});"
        f" give a local folder by pair.{role}.path=, or log in to the hub if the model is gated"
    )


def _context(config: PreTrainedConfig) -> int:
    return int(getattr(config, "max_position_embeddings", 2**31))


def _stop_ids(model: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
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
