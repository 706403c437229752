"""A preallocated key/value cache whose rollback is exact and free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from decoders.model.packed_context import PackedContext


class PreallocatedLayer(CacheLayerMixin):
    """One layer's keys and values in a buffer that is written in place and read as a view.

    transformers' ``DynamicLayer`` copies the whole cache for every token, its ``StaticLayer`` makes
    attention run over the whole buffer. This one does neither: rolling back only lowers ``length``.

    ``keys`` and ``values``: ``[1, heads, capacity, head_dim]``.
    """

    is_compileable = False
    is_croppable = True
    is_sliding = False

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.length = 0
        #: A copy of the first keys and values, as long as none of them is written anew.
        self._packed: PackedContext | None = None

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        batch, heads, _, key_dim = key_states.shape
        self.dtype, self.device = key_states.dtype, key_states.device
        # Not just any memory: under a mask what is not held yet counts nothing, unless it is NaN.
        self.keys = key_states.new_zeros(batch, heads, self.capacity, key_dim)
        self.values = value_states.new_zeros(batch, heads, self.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if end > self.capacity:
            self.grow(end)
        assert self.keys is not None and self.values is not None
        self.forget_packed(self.length)
        new = end - self.length
        self.keys.narrow(2, self.length, new).copy_(key_states)
        self.values.narrow(2, self.length, new).copy_(value_states)
        self.length = end
        return self.first(end)

    def first(self, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values at the first positions, also where nothing is held: any numbers there."""
        if tokens > self.capacity:
            self.grow(tokens)
        assert self.keys is not None and self.values is not None
        return self.keys.narrow(2, 0, tokens), self.values.narrow(2, 0, tokens)

    def grow(self, needed: int) -> None:
        """Move to buffers with room for ``needed`` tokens, or twice as many as before."""
        assert self.keys is not None and self.values is not None
        old_keys, old_values = self.keys, self.values
        self.capacity = max(needed, 2 * self.capacity)
        self.lazy_initialization(old_keys, old_values)
        self.keys[:, :, : self.length] = old_keys[:, :, : self.length]
        self.values[:, :, : self.length] = old_values[:, :, : self.length]

    def packed(self, tokens: int) -> PackedContext:
        """A copy of what is held at the first ``tokens`` positions, made where there is none."""
        if self._packed is None or self._packed.tokens != tokens:
            assert self.keys is not None and self.values is not None
            self._packed = None  # Its memory is free before as much is taken.
            self._packed = PackedContext.of(self.keys, self.values, tokens)
        return self._packed

    def forget_packed(self, length: int) -> None:
        """Positions from ``length`` on are written: a copy of any of them is out of date."""
        if self._packed is not None and self._packed.tokens > length:
            self._packed = None

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    def keep(self, length: int, entries: Sequence[int]) -> None:
        """See :meth:`RollbackCache.keep`."""
        self.length = length + len(entries)
        if self.keys is None or self.values is None:
            # Of a layer that attends to another one's.
            return
        # Entries that are in place already, as of the first guess mostly, need not be moved.
        if list(entries) != list(range(len(entries))):
            self.forget_packed(length)
            index = torch.tensor(entries, device=self.keys.device) + length
            for states in (self.keys, self.values):
                states[:, :, length : self.length] = states[:, :, index]

    def crop(self, tokens_to_remove: int) -> None:
        self.length -= abs(tokens_to_remove)


class RollbackCache(Cache):
    """The cache of a whole model: one :class:`PreallocatedLayer` per attention layer."""

    def __init__(self, layers: int, capacity: int) -> None:
        self.layers: list[PreallocatedLayer]  # type: ignore[assignment]
        super().__init__(layers=[PreallocatedLayer(capacity) for _ in range(layers)])

    @property
    def length(self) -> int:
        """Number of tokens whose keys and values are held."""
        return self.layers[0].length

    @property
    def capacity(self) -> int:
        """Number of tokens there is room for."""
        return self.layers[0].capacity

    def reserve(self, length: int) -> None:
        """Make room for so many tokens; what is held already may move."""
        for layer in self.layers:
            if length > layer.capacity:
                layer.grow(length)

    def advance(self, tokens: int) -> None:
        """So many tokens more were written behind the held ones, by whoever knows the buffers."""
        for layer in self.layers:
            layer.forget_packed(layer.length)
            layer.length += tokens

    def rollback(self, length: int) -> None:
        """Forget every token from position ``length`` on."""
        for layer in self.layers:
            layer.length = length

    def keep(self, length: int, entries: Sequence[int]) -> None:
        """Of what lies beyond position ``length``, keep only some, moved up to it.

        Parameters
        ----------
        length
            Position of entry 0.
        entries
            Those to keep, ascending.
        """
        for layer in self.layers:
            layer.keep(length, entries)
