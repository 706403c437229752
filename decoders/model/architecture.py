"""How a model reads texts, as far as its config and its class say it: before weights are loaded."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoModel, PreTrainedConfig

_FULL, _SLIDING, _CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
#: Layers that hold keys and values by position, and nothing else.
_CUT_BACK_ANYWHERE = {_FULL, _SLIDING, _CHUNKED}
#: Layers that hold nothing, among others that do.
_KEEP_NOTHING = {"moe", "mlp"}
#: What other layers keep, by transformers' names for them.
_KEPT = {
    "conv": "the last inputs of a convolution",
    "linear_attention": "a recurrent state, as Mamba's",
    "hybrid": "a recurrent or convolutional state beside keys and values",
    "hybrid_sliding": "a recurrent or convolutional state beside keys and values",
    "indexed_attention": "an index beside keys and values",
    "compressed_sparse_attention": "compressed keys and values",
    "heavily_compressed_attention": "compressed keys and values",
    "minimax_m3_sparse": "an index beside keys and values",
}
#: Kinds of models that do not read a text as it is given, though their configs do not show it.
_ODD = {
    "blt": "which reads bytes in patches of its own choice, with a cache for each of its parts",
    "cpmant": "which puts tokens of its own before each text",
}
#: What configs call the longest text. ALiBi's have no limit, but some name one.
_CONTEXT = ("max_position_embeddings", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class Architecture:
    """What decoding must know of a causal language model beside its weights.

    Parameters
    ----------
    name
        transformers' name of the kind of model.
    context
        The longest text, in tokens.
    layers
        The kinds of attention among its layers, by transformers' names for them.
    sliding_window
        Tokens that a layer of sliding attention sees, the one that looks included.
    chunk
        Tokens of a chunk; a layer of chunked attention sees no other chunk than its token's own.
    rope_switch
        The longest text that is read with the first of two sets of rotations (longrope). A longer
        one is read with the second, all of its tokens. ``None`` where length makes no difference.
    no_trees
        Why a forward can't read a tree; empty where it can.
    depth
        Number of layers; 0 where that is not known.
    no_early_exit
        Why a forward can't be ended after fewer layers; empty where it can.
    mtp_layers
        Layers for multi-token prediction that its config speaks of, beside those of ``depth``.
    """

    name: str
    context: int
    layers: frozenset[str] = frozenset({_FULL})
    sliding_window: int | None = None
    chunk: int | None = None
    rope_switch: int | None = None
    no_trees: str = ""
    depth: int = 0
    no_early_exit: str = ""
    mtp_layers: int = 0

    @classmethod
    def of(cls, config: PreTrainedConfig, model: Any) -> Architecture:
        """The architecture of a ``model``, a class of transformers, made by the config of its text.

        A dynamic NTK's rotations depend on length only beyond the context that its config names.
        """
        sliding = getattr(config, "sliding_window", None)
        chunk = getattr(config, "attention_chunk_size", None)
        kinds = _layer_types(config)
        if not kinds:
            # As transformers' caches and masks tell it.
            kinds = {_SLIDING if sliding is not None else _CHUNKED if chunk is not None else _FULL}
        return cls(
            config.model_type,
            context(config),
            frozenset(kinds),
            sliding,
            chunk,
            _rope_switch(config),
            _no_trees(config, model),
            getattr(config, "num_hidden_layers", 0),
            _no_early_exit(config, model),
            getattr(config, "num_mtp_layers", None) or 0,
        )

    def visible(self, seen: torch.Tensor, positions: Sequence[int]) -> dict[str, torch.Tensor]:
        """What each token attends to, by the kind of layer: ``[tokens, held + tokens]``, bool.

        Parameters
        ----------
        seen
            The same for a layer that sees all that came before.
        positions
            Of each token in its text, and before them of what the cache holds last, if that is no
            text. What else it holds is at the first positions.
        """
        last = torch.tensor(positions)
        reader = last[len(last) - len(seen) :, None]
        read = torch.cat([torch.arange(seen.shape[1] - len(positions)), last])
        by_layer = {_FULL: seen}
        if self.sliding_window is not None:
            by_layer[_SLIDING] = seen & (reader - read < self.sliding_window)
        if self.chunk is not None:
            by_layer[_CHUNKED] = seen & (reader // self.chunk == read // self.chunk)
        return {kind: by_layer[kind] for kind in sorted(self.layers)}


def context(config: PreTrainedConfig) -> int:
    """The longest text of a model, in tokens."""
    limits = (getattr(config, name, None) for name in _CONTEXT)
    return next((limit for limit in limits if limit is not None), sys.maxsize)


def unfit(config: PreTrainedConfig, model: Any) -> str:
    """Why no decoder can use such a ``model`` (a class), as a relative clause; else empty.

    Decoding needs a model that reads from left to right and whose cache can be cut back to any
    earlier token.
    """
    other = sorted(_layer_types(config) - _CUT_BACK_ANYWHERE - _KEEP_NOTHING)
    arguments = inspect.signature(model.forward).parameters
    missing = [name for name in ("past_key_values", "logits_to_keep") if name not in arguments]
    if getattr(config, "is_encoder_decoder", False):
        return "which has an encoder beside its decoder"
    if other:
        kept = " and ".join(f"{kind} ({_KEPT[kind]})" if kind in _KEPT else kind for kind in other)
        return f"with layers of {kept}, which can't go back to earlier tokens"
    if model._is_stateful:
        return "which keeps a recurrent state, which can't go back to earlier tokens"
    if _layer_types(config) & _KEEP_NOTHING:
        return "some of whose layers have no attention"
    if config.model_type in _ODD:
        return _ODD[config.model_type]
    if missing:
        return f"whose forward takes no {' and no '.join(missing)}"
    if _looks_ahead(config):
        return "whose tokens attend to those after them (its config does not make it a decoder)"
    return ""


def _layer_types(config: PreTrainedConfig) -> set[str]:
    return set(getattr(config, "layer_types", None) or ())


def _looks_ahead(config: PreTrainedConfig) -> bool:
    if getattr(config, "use_bidirectional_attention", None) in (True, "all"):
        return True
    if not getattr(config, "is_causal", True):
        return True
    if getattr(config, "is_decoder", None) is not False:
        return False
    # Some causal models' configs say so, too, and nobody reads it; an encoder's layers do.
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    return any(getattr(module, "is_decoder", None) is False for module in model.modules())


def _rope_switch(config: PreTrainedConfig) -> int | None:
    parameters = getattr(config, "rope_parameters", None) or {}
    # One set of them, or one for each kind of layer.
    sets = [parameters] if "rope_type" in parameters else list(parameters.values())
    for one in sets:
        if isinstance(one, dict) and one.get("rope_type") == "longrope":
            return int(one["original_max_position_embeddings"])
    return None


def _no_trees(config: PreTrainedConfig, model: Any) -> str:
    if getattr(config, "alibi", False):
        return "its positions (ALiBi) are counted along the cache"
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return "it can't be told the positions of tokens"
    if "local" in getattr(config, "attention_layers", ()):
        return "its local attention is counted along the cache"
    return ""


def _no_early_exit(config: PreTrainedConfig, model: Any) -> str:
    head: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if head is not model:
        return "its layers are a part of a larger model"
    if getattr(config, "num_kv_shared_layers", 0):
        return "its later layers read the keys of earlier ones"
    # Where transformers looks for its layers.
    if f"self.{model.base_model_prefix} =" not in inspect.getsource(model.__init__):
        return "its layers are not where transformers looks for them"
    # transformers ends a forward early by telling the config of fewer layers.
    body: Any = MODEL_MAPPING[type(config)]
    if "num_hidden_layers" not in inspect.unwrap(body.forward).__code__.co_names:
        return "it runs its layers whatever their number is said to be"
    return ""
