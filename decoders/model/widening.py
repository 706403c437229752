"""A model that computes in a wider dtype than its weights have, without a copy of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

#: What is computed in where rounding is not to matter, by the dtype of the weights.
WIDER = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float64,
}


@contextlib.contextmanager
def widened(model: PreTrainedModel) -> Iterator[None]:
    """Let ``model`` compute in the wider dtype, a layer's weights in it at a time."""
    dtype = WIDER[model.dtype]
    with _weights_in(model, dtype), _in_float64(model, dtype):
        yield


@contextlib.contextmanager
def _in_float64(model: PreTrainedModel, dtype: torch.dtype) -> Iterator[None]:
    """Let transformers compute in float64, if that is the ``dtype``, where it would not."""
    if dtype is not torch.float64:
        yield
        return
    # Products of experts in groups have no float64; masks of some models are made in the default.
    experts, default = model.get_experts_implementation(), torch.get_default_dtype()
    model.set_experts_implementation("eager")
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(default)
        model.set_experts_implementation(experts)


@contextlib.contextmanager
def _weights_in(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let each module of ``model`` have its own weights in ``dtype`` while it runs."""
    narrow: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def widen(module: nn.Module, inputs: Any) -> None:
        narrow[module] = dict(module._parameters)
        for name, weights in narrow[module].items():
            if weights is not None:
                module._parameters[name] = nn.Parameter(weights.to(dtype), requires_grad=False)

    def restore(module: nn.Module, inputs: Any, output: Any) -> None:
        module._parameters.update(narrow.pop(module))

    hooks = []
    for module in model.modules():
        if module._parameters:
            hooks.append(module.register_forward_pre_hook(widen))
            hooks.append(module.register_forward_hook(restore))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, own in narrow.items():
            module._parameters.update(own)
