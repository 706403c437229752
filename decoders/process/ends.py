"""The place in a target's layers where its forward passes from its first end to its last."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from decoders.model.cached_model import CachedModel
from decoders.model.waiting import wait_for


class TargetThread:
    """Moves the thread that computes the target to the cores of the end it is at.

    Parameters
    ----------
    cores
        Those of the first end and of the last. Empty where the layers of that end are on a device
        of their own: then nothing is moved.
    """

    def __init__(self, cores: Sequence[tuple[int, ...]]) -> None:
        self._cores = cores
        self._at: int | None = None

    def move(self, end: int) -> None:
        """Go to the first end (0) or the last (1); the same again costs nothing."""
        if end != self._at and self._cores[end]:
            os.sched_setaffinity(0, self._cores[end])
            self._at = end

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Put the thread back where it was after the body of a ``with``."""
        home = os.sched_getaffinity(0)
        try:
            yield
        finally:
            if self._at is not None:
                os.sched_setaffinity(0, home)
                self._at = None


@contextlib.contextmanager
def watched(
    target: CachedModel, begin: Callable[[], None], cross: Callable[[], None]
) -> Iterator[None]:
    """In the body of a ``with``, tell where the target's forwards are.

    ``begin`` is called before the first layer, ``cross`` before the first layer of the last end:
    the last device, or the second half of the layers where all are on one.
    """
    layers = layers_of(target)
    index = crossing([_device(layer) for layer in layers])
    before = _device(layers[index - 1])

    def crossed(*_: Any) -> None:
        # The host runs ahead of a GPU: the first end is free only once it has computed its layers.
        wait_for(before)
        cross()

    hooks = [
        layers[0].register_forward_pre_hook(lambda *_: begin()),
        layers[index].register_forward_pre_hook(crossed),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def crossing(devices: Sequence[torch.device]) -> int:
    """Index of the first layer at the last end, given each layer's device."""
    first_on_last = devices.index(devices[-1])
    return first_on_last or len(devices) // 2


def layers_of(target: CachedModel) -> nn.ModuleList:
    """The layers of a target, in order."""
    count = target.model.config.get_text_config().num_hidden_layers
    for module in target.model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise TypeError(f"{type(target.model).__name__} has no list of its {count} layers")


def _device(layer: nn.Module) -> torch.device:
    return next(layer.parameters()).device
