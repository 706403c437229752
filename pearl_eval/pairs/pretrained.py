"""Pairs of trained models, from local folders or the hub."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError, safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.quantizers.auto import get_hf_quantizer
from transformers.utils import CONFIG_NAME
from transformers.utils import logging as transformers_logging

from decoders.model.architecture import Architecture, unfit
from decoders.model.cached_model import CachedModel
from decoders.process.models import Checkpoint
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.errors import UserError, reason
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs.chat import end_of_turn
from pearl_eval.pairs.fingerprint import folder_fingerprint
from pearl_eval.pairs.frequent_tokens import cut_head
from pearl_eval.pairs.generation_config import end_ids, read_generation_config
from pearl_eval.pairs.model_config import ModelConfig
from pearl_eval.pairs.pair import Pair, PairSource
from pearl_eval.pairs.vocabularies import check_apart, shared_tokens
from pearl_eval.shell.console import print_note
from pearl_eval.sizes.memory import free_bytes
from pearl_eval.sizes.model_shapes import known_shapes
from pearl_eval.sizes.model_size import ModelSize
from pearl_eval.weights.completed import completed, lacks_embeddings

_INDEX = "model.safetensors.index.json"


@dataclass
class Pretrained(PairSource):
    """A trained target and a trained draft model, which needs a name only where it is used."""

    target: ModelConfig = field(default_factory=ModelConfig)
    draft: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        self.target.check("target")
        if self.draft.path is not None or self.draft.package is not None:
            self.draft.check("draft")

    def choose_devices(self, runtime: RuntimeConfig) -> Devices:
        return Devices.choose(
            runtime.target_device,
            runtime.draft_device,
            self.target.gpus or 1,
            self.draft.gpus or 1,
            runtime.gpus,
        )

    def target_settings(self) -> dict[str, Any]:
        return {"model": asdict(self.target), "dtype": self.dtype.value}

    def gpus(self) -> dict[str, int]:
        return {"target": self.target.gpus or 0, "draft": self.draft.gpus or 0}

    def sizes(self) -> dict[str, ModelSize]:
        known = {"target": size_without_hub("target", self.target)}
        # It may not be used at all, so that it need not be of a kind that can be.
        with contextlib.suppress(UserError):
            known["draft"] = size_without_hub("draft", self.draft)
        return {role: size for role, size in known.items() if size}

    def open(self, devices: Devices, uses_draft: bool) -> Pair:
        return self._open(devices, uses_draft, shared_tokens)

    def open_apart(self, devices: Devices) -> Pair:
        pair = self._open(devices, True, check_apart)
        return replace(pair, draft_tokenizer=read_tokenizer("draft", self.draft))

    def _open(
        self,
        devices: Devices,
        uses_draft: bool,
        shared: Callable[[PreTrainedTokenizerBase, PreTrainedTokenizerBase], int | None],
    ) -> Pair:
        """``shared`` checks the tokenizers: how many ids from 0 on are the same, if it matters."""
        # The hub client's own account of each retry; what matters of it is in our error.
        hub_logging.set_verbosity_error()
        if uses_draft:
            self.draft.gguf("draft")  # if none is there, that is told before any is converted
        config = read_config("target", self.target, devices.target)
        architectures = {"target": config_architecture(config)}
        tokenizer = read_tokenizer("target", self.target)
        sizes = {"target": ModelSize.of(config)}
        weights = {"target": weights_mark("target", self.target)}
        dtype = self.dtype.value
        vocab_size = draft_size = min(len(tokenizer), config.vocab_size)
        known: int | None = None
        models = {"target": self.target}
        if uses_draft:
            models["draft"] = draft = self._whole_draft(weights["target"])
            config = read_config("draft", draft, devices.draft)
            architectures["draft"] = config_architecture(config)
            theirs = read_tokenizer("draft", draft)
            same = shared(tokenizer, theirs)
            draft_size, known = (
                (min(len(theirs), config.vocab_size), None)
                if same is None
                else (vocab_size, min(vocab_size, config.vocab_size, same))
            )
            sizes["draft"] = ModelSize.of(config)
            weights["draft"] = weights_mark("draft", draft)
        checkpoints = {role: model.checkpoint(role) for role, model in models.items()}
        return Pair(
            tokenizer,
            sizes,
            stop_ids("target", self.target, tokenizer),
            functools.partial(load_model, checkpoints["target"], dtype, devices.target, vocab_size),
            functools.partial(
                load_model,
                checkpoints.get("draft", Checkpoint("")),
                dtype,
                devices=devices.draft,
                vocab_size=draft_size,
                known=known,
            ),
            weights,
            checkpoints,
            architectures=architectures,
        )

    def _whole_draft(self, target_mark: str) -> ModelConfig:
        """The draft model; with the target's embeddings where its folder is without any."""
        if not self.draft.is_local or self.draft.package or self.draft.gguf_file:
            return self.draft
        folder = Path(self.draft.checkpoint("draft").location)
        if not (folder / "config.json").is_file():
            return self.draft
        read_config("draft", self.draft)  # what is damaged is told before it is opened
        if not lacks_embeddings(folder):
            return self.draft
        target = Path(self.target.checkpoint("target").location)
        if not target.is_dir():
            raise UserError(
                f"pair.draft.path={self.draft.path}: its embeddings are its target's, which must be"
                f" on this machine for that, and {self.target.named('target')} is the hub's"
            )
        mark = f"{target_mark} {folder_fingerprint(folder)}"
        try:
            return replace(self.draft, path=str(completed(folder, target, mark, print_note)))
        except UserError as error:
            raise UserError(f"pair.draft.path={self.draft.path}: {error}") from error


def load_model(
    model: Checkpoint,
    dtype: str,
    devices: tuple[str, ...],
    vocab_size: int,
    known: int | None = None,
    whole_head: bool = False,
) -> CachedModel:
    """Load a model's weights onto its device, or by layers over several.

    ``vocab_size`` and ``known``: see :class:`CachedModel`. ``whole_head``: with the rows of all
    tokens, whatever its folder says of frequent ones.
    """
    transformers_logging.disable_progress_bar()
    where: dict[str, Any] = {"device_map": _device_map(devices)}
    if len(devices) > 1:
        where["max_memory"] = {torch.device(one).index: free_bytes(one) for one in devices}
    try:
        loaded, report = cast(Any, AutoModelForCausalLM).from_pretrained(
            model.location,
            revision=model.revision,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **where,
        )
    except (OSError, SafetensorError, RuntimeError, ImportError, ValueError) as error:
        raise UserError(
            f"{model.location}: its weights can't be loaded: {reason(error)}"
        ) from error
    absent = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if absent:
        raise UserError(
            f"{model.location}: the weights are not those of its config: {len(absent)} are missing"
            f" or of another shape, the first is {absent[0]}"
        )
    if not whole_head:
        cut_head(loaded, Path(model.location))
    return CachedModel(loaded, vocab_size, known)


def _device_map(devices: Sequence[str]) -> str | dict[str, str]:
    """As transformers has it: one device for all of a model, or layers spread over several."""
    return "auto" if len(devices) > 1 else {"": devices[0]}


def read_config(
    role: str, model: ModelConfig, devices: Sequence[str] | None = None
) -> PreTrainedConfig:
    """The config of a model's text, or a clear word on what is missing, or why it can't be used.

    ``devices`` are those that it would be loaded onto, where it would be.
    """
    where = model.checkpoint(role, check_kind)
    if model.is_local:
        folder = Path(where.location)
        if not folder.is_dir():
            raise UserError(f"{model.named(role)}: there is no such folder")
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{model.named(role)}: no config.json there, so no model{_hint(role, folder)}"
            )
        check_weights(role, folder)
    try:
        config = AutoConfig.from_pretrained(
            where.location, revision=where.revision, trust_remote_code=False
        )
    except Exception as error:  # whatever is thrown over a file that is not ours
        raise _not_readable(role, model, "config", error) from error
    _check_kind(role, model, config)
    if devices is not None:
        _check_quantised(role, model, config, devices)
    return config.get_text_config()


def _hint(role: str, folder: Path) -> str:
    """How to name a GGUF file of a folder, if it has one."""
    found = sorted(path.name for path in folder.glob("*.gguf"))
    return f"; for a GGUF file, pair.{role}.gguf_file={found[0]}" if found else ""


def config_architecture(config: PreTrainedConfig) -> Architecture:
    """The architecture of a model by the config of its text."""
    return Architecture.of(config, MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])


def check_kind(config: PreTrainedConfig) -> None:
    """Refuse a model that is not of a kind that decoders can work with."""
    why = "which is no causal language model"
    # Of models that read text and write something else, there may be none, or several.
    with contextlib.suppress(ValueError):
        text = config.get_text_config()
        if all(type(one) in MODEL_FOR_CAUSAL_LM_MAPPING for one in (config, text)):
            why = unfit(text, MODEL_FOR_CAUSAL_LM_MAPPING[type(config)])
    if why:
        raise UserError(
            f"a {config.model_type} model, {why}; take a decoder-only model of attention layers"
            " alone"
        )


def _check_kind(role: str, model: ModelConfig, config: PreTrainedConfig) -> None:
    try:
        check_kind(config)
    except UserError as error:
        raise UserError(f"{model.named(role)}: {error}") from error


def _check_quantised(
    role: str, model: ModelConfig, config: PreTrainedConfig, devices: Sequence[str]
) -> None:
    """Refuse quantised weights that can't be read here: most kinds need a library of their own."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return
    try:
        # What transformers does before it loads such weights; it writes into the config.
        get_hf_quantizer(copy.deepcopy(config), None, _device_map(devices), True, {})
    except Exception as error:  # each kind has its own words and types for what it lacks
        method = settings.get("quant_method") if isinstance(settings, dict) else None
        raise UserError(
            f"{model.named(role)}: its weights are quantised ({method}) and can't be read"
            f" here: {reason(error)}"
        ) from error


def size_without_hub(role: str, model: ModelConfig) -> ModelSize | None:
    """A model's size as far as it can be told without a network; ``None`` where it can't.

    From the folder, from the shapes that come with the package, or from the hub's local cache.
    Raises :class:`UserError` for a model that decoders can't work with.
    """
    shape = None if model.is_local else known_shapes().get(model.path or "")
    if shape is not None:
        return ModelSize.of_shape(shape)
    config = model.config_without_hub(role)
    if config is None:
        return None
    _check_kind(role, model, config)
    return ModelSize.of(config.get_text_config())


def weights_mark(role: str, model: ModelConfig) -> str:
    """What tells the weights of a model whose config was read from others: of the hub's, their
    commit."""
    if model.is_local or model.gguf_file is not None:
        return folder_fingerprint(Path(model.checkpoint(role).location))
    # The hub's cache has the config in a folder that is named by its commit.
    config = try_to_load_from_cache(model.path or "", CONFIG_NAME, revision=model.revision)
    if isinstance(config, str):
        return f"commit {Path(config).parent.name}"
    return f"{model.path}, revision {model.revision}"


def read_tokenizer(role: str, model: ModelConfig) -> PreTrainedTokenizerBase:
    """The model's tokenizer, or a clear word on what is missing."""
    where = model.checkpoint(role)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            where.location, revision=where.revision, trust_remote_code=False
        )
    except Exception as error:  # whatever is thrown over a file that is not ours
        raise _not_readable(role, model, "tokenizer", error) from error
    if not tokenizer("x").input_ids:
        raise UserError(f"{model.named(role)}: its tokenizer has no tokens")
    return tokenizer


def stop_ids(role: str, model: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens that end a text: those of the generation config, the tokenizer's own, and what ends a
    turn in the chat template, which either may lack."""
    where = model.checkpoint(role)
    try:
        config = read_generation_config(where)
        found = end_ids(config)
        if config is not None and not all(isinstance(one, int) for one in found):
            raise ValueError(f"eos_token_id is {config.eos_token_id!r}, which is no token's number")
    except Exception as error:  # whatever is thrown over a file that is not ours
        raise _not_readable(role, model, "generation config", error) from error
    own = (tokenizer.eos_token_id, end_of_turn(tokenizer))
    return tuple(dict.fromkeys([*found, *(one for one in own if one is not None)]))


def _not_readable(role: str, model: ModelConfig, what: str, error: Exception) -> UserError:
    if "trust_remote_code" in str(error):
        return UserError(
            f"{model.named(role)}: its {what} is read by code that comes with the model,"
            " which is never run; take a model of a kind that transformers knows"
        )
    return UserError(
        f"{model.named(role)}: its {what} could not be read ({reason(error)});"
        f" give a local folder by pair.{role}.path=, or log in to the hub if the model is gated"
    )


def check_weights(role: str, folder: Path) -> None:
    """Refuse a folder whose safetensors files are missing, damaged or cut short, naming the file.

    Reads the files' headers, not the weights.
    """
    if (folder / _INDEX).is_file():
        try:
            names = json.loads((folder / _INDEX).read_text())["weight_map"].values()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"pair.{role}.path={folder}: {_INDEX} is damaged ({error})") from error
        files = [folder / name for name in sorted(set(names))]
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
