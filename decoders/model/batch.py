"""One model at several texts, which come and go: each has a cache of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from decoders.model.cache import PreallocatedLayer, RollbackCache
from decoders.model.cached_model import INITIAL_CAPACITY, CachedModel
from decoders.model.fused import FusedForward, FusedLayer


class Guess(NamedTuple):
    """A model's most probable token, and its probability; 1 where that is not asked for."""

    token: int
    confidence: float = 1.0


class Batch:
    """A model that drafts, greedily, for several texts in one forward.

    Texts are in slots, numbered from 0. Each has its length and is rolled back for itself. One text
    alone is computed as by :class:`CachedModel`. Where its layers are not fused, the texts of a
    forward are computed in turn.

    Parameters
    ----------
    model
        Is used from now on by nobody else.
    confides
        Whether it says how probable it finds its tokens.
    """

    def __init__(self, model: CachedModel, confides: bool = False) -> None:
        self._model = model
        self._confides = confides
        self._texts: list[CachedModel] = []
        self._room = None if model.fused is None else _Room(model.fused.layers, model)

    @property
    def vocab_size(self) -> int:
        return self._model.vocab_size

    def length(self, slot: int) -> int:
        """Number of tokens that were read of a text."""
        return self._slot(slot).length

    def rollback(self, slot: int, length: int) -> None:
        """Forget every token of a text from position ``length`` on."""
        self._slot(slot).rollback(length)

    def read(self, slot: int, text: Sequence[int]) -> Guess:
        """Read what was not read yet of a text; gives the most probable token after it."""
        (guess,) = self._guesses(self._slot(slot).extend(text, rows=1))
        return guess

    @torch.inference_mode()
    def step(self, slots: Sequence[int], texts: Sequence[Sequence[int]]) -> list[Guess]:
        """Read the last token of each of several texts, of which all others were read.

        Parameters
        ----------
        slots
            Different ones.
        texts
            The whole text in each.

        Returns
        -------
        The most probable token after each.
        """
        fused = self._model.fused
        if fused is None or self._room is None or len(slots) == 1:
            return [self.read(slot, text) for slot, text in zip(slots, texts, strict=True)]
        # Slots between them go along: they read anything, behind what they hold, and ignore it.
        start, end = min(slots), max(slots) + 1
        read = {slot: text[-1] for slot, text in zip(slots, texts, strict=True)}
        positions = [text.length for text in self._texts[start:end]]
        self._room.reserve(max(positions) + 1)
        device = self._model.device
        ids = torch.tensor([read.get(slot, 0) for slot in range(start, end)], device=device)
        logits = self._forward(fused, self._room, self._model.readable(ids), positions, start)
        for slot in slots:
            self._texts[slot].cache.advance(1)
        every = [(at, read.get(slot, 0)) for slot, at in enumerate(positions, start)]
        chosen = self._guesses(self._model.predictions(logits, every))
        return [chosen[slot - start] for slot in slots]

    def _guesses(self, logits: torch.Tensor) -> list[Guess]:
        """Of each row of logits."""
        chosen = logits.argmax(-1)
        if not self._confides:
            return [Guess(token) for token in chosen.tolist()]
        logits = logits.float()
        weights = (logits - logits.gather(-1, chosen[:, None])).exp_()
        sure = weights.sum(-1).reciprocal_()
        return [Guess(*one) for one in zip(chosen.tolist(), sure.tolist(), strict=True)]

    def _forward(
        self,
        fused: FusedForward,
        room: _Room,
        ids: torch.Tensor,
        positions: list[int],
        start: int,
    ) -> torch.Tensor:
        """Logits, ``[texts, vocab]``, after one token of each of neighbouring texts."""
        at = torch.tensor(positions, device=ids.device)
        rows = torch.arange(len(positions), device=ids.device)
        longest = max(positions) + 1
        hidden = fused.embed(ids)
        mask = None
        if min(positions) + 1 < longest:
            unseen = torch.arange(longest, device=ids.device) > at[:, None]
            mask = hidden.new_zeros(unseen.shape).masked_fill_(unseen, -torch.inf)[:, None, None]
        rotations = fused.rotations(hidden, at[None])
        for layer in fused.layers:
            queries, new_keys, new_values = layer.project(hidden, *rotations)
            keys, values = room.between(layer.index, start, start + len(positions))
            keys[rows, :, at] = new_keys[0].transpose(0, 1)
            values[rows, :, at] = new_values[0].transpose(0, 1)
            each = queries.permute(2, 1, 0, 3)
            read = layer.attend(each, keys[:, :, :longest], values[:, :, :longest], mask)
            hidden = layer.finish(hidden, read.reshape(len(positions), -1))
        return fused.logits(hidden)

    def _slot(self, slot: int) -> CachedModel:
        while slot >= len(self._texts):
            if self._room is None:
                cache = RollbackCache(len(self._model.cache.layers), INITIAL_CAPACITY)
            else:
                cache = self._room.add()
            self._texts.append(self._model.beside(cache))
        return self._texts[slot]


class _Room:
    """Keys and values of all slots, layer by layer: ``[slots, heads, capacity, head_dim]``."""

    def __init__(self, layers: Sequence[FusedLayer], model: CachedModel) -> None:
        self._shapes = [(layer.kv_heads, layer.head_dim) for layer in layers]
        self._options = {"dtype": model.model.dtype, "device": model.device}
        self._caches: list[RollbackCache] = []
        self._slots, self._capacity = 0, INITIAL_CAPACITY
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []

    def add(self) -> RollbackCache:
        """The cache of one more slot."""
        cache = RollbackCache(len(self._shapes), self._capacity)
        cache.layers = [_SlotLayer(self) for _ in self._shapes]
        self._caches.append(cache)
        if len(self._caches) > self._slots:
            self._move(max(1, 2 * self._slots), self._capacity)
        self._hand_out()
        return cache

    def reserve(self, length: int) -> None:
        """Make room for so many tokens in each slot."""
        if length > self._capacity:
            self._move(self._slots, max(length, 2 * self._capacity))
            self._hand_out()

    def between(self, layer: int, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of neighbouring slots."""
        return self._keys[layer][start:end], self._values[layer][start:end]

    def _move(self, slots: int, capacity: int) -> None:
        for states in (self._keys, self._values):
            old = list(states)
            states.clear()
            for index, (heads, width) in enumerate(self._shapes):
                # Zeros, since under a mask what is not held yet counts nothing, unless it is NaN.
                new = torch.zeros(slots, heads, capacity, width, **self._options)
                if old:
                    new[: self._slots, :, : self._capacity] = old[index]
                states.append(new)
        self._slots, self._capacity = slots, capacity

    def _hand_out(self) -> None:
        for slot, cache in enumerate(self._caches):
            for layer, keys, values in zip(cache.layers, self._keys, self._values, strict=True):
                layer.keys, layer.values = keys[slot : slot + 1], values[slot : slot + 1]
                layer.capacity = self._capacity


class _SlotLayer(PreallocatedLayer):
    """One layer's keys and values of one slot."""

    def __init__(self, room: _Room) -> None:
        super().__init__(0)
        self._room = room
        self.is_initialized = True

    def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
        raise AssertionError("a slot's buffers are made with those of the others")

    def grow(self, needed: int) -> None:
        self._room.reserve(needed)
