"""Forwards of fixed shapes in fixed places: on a GPU, recorded once and replayed.

What a GPU computes in a small forward takes less time than asking for its hundreds of operations
one by one. A CUDA graph asks for all of them at once; but it is the same operations on the same
memory every time. So here a forward of so many tokens always reads the cache up to the next
multiple of ``BUCKET`` under a mask, and what changes, tokens and positions, is written into its
inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from decoders.model.cache import RollbackCache
from decoders.model.fused import FusedForward

#: The cache is read up to a multiple of so many positions.
BUCKET = 256
#: More tokens at once, as of a prompt, are computed as by :class:`FusedForward`.
WIDEST = 32
#: Runs before a recording, in which libraries choose and set up what they use.
_WARM_UPS = 2


@dataclass(frozen=True)
class _Step:
    """A forward of one shape: its inputs, and what computes it; gives all rows of logits."""

    ids: torch.Tensor
    positions: torch.Tensor
    run: Callable[[], torch.Tensor]


class StaticForward(FusedForward):
    """A :class:`FusedForward` whose forwards of few tokens have fixed shapes and places.

    On a GPU each shape (tokens, bucket) becomes a CUDA graph: by ``prepare``, so that none is
    recorded while something is timed, or else when it first comes up.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model)
        self._steps: dict[tuple[int, int], _Step] = {}
        self._capacity = 0
        self._side: torch.cuda.Stream | None = None

    def __call__(
        self,
        ids: torch.Tensor,
        cache: Any,
        logits_to_keep: int | torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As of :class:`FusedForward`. Forwards with masks, of trees, are computed as there."""
        seen, tokens = cache.length, ids.shape[1]
        plain = attention_mask is None and position_ids is None and isinstance(logits_to_keep, int)
        if not plain or not seen or tokens > WIDEST:
            return super().__call__(ids, cache, logits_to_keep, attention_mask, position_ids)
        bucket = _bucket(seen + tokens)
        self._reserve(bucket, cache)
        positions = torch.arange(seen, seen + tokens)
        step = self._prepared(ids, positions, bucket, cache)
        step.ids.copy_(ids, non_blocking=True)
        step.positions.copy_(positions, non_blocking=True)
        logits = step.run()
        cache.advance(tokens)
        return logits[-logits_to_keep:]

    def prepare(
        self, windows: Iterable[int], start: int, end: int, ids: torch.Tensor, cache: RollbackCache
    ) -> None:
        """Make ready for forwards of these numbers of tokens in a text, and leave the cache empty.

        Parameters
        ----------
        windows
            How many tokens forwards read.
        start, end
            Of the text, how many tokens are read before, and how many at most.
        ids
            Any tokens, ``[1, tokens]``: at least as many as the widest window.
        cache
            The model's; it holds no tokens, but has been in use.
        """
        self._reserve(_bucket(end), cache)
        for bucket in range(_bucket(start + 1), _bucket(end) + 1, BUCKET):
            for tokens in windows:
                if tokens <= min(WIDEST, bucket):
                    self._prepared(ids[:, :tokens], torch.arange(tokens), bucket, cache)

    def _reserve(self, length: int, cache: RollbackCache) -> None:
        cache.reserve(length)
        if cache.capacity != self._capacity:
            # It has moved, and with it what the steps read and write.
            self._steps.clear()
            self._capacity = cache.capacity

    def _prepared(
        self, ids: torch.Tensor, positions: torch.Tensor, bucket: int, cache: RollbackCache
    ) -> _Step:
        key = ids.shape[1], bucket
        if key not in self._steps:
            self._steps[key] = self._step(ids, positions, bucket, cache)
        return self._steps[key]

    def _step(
        self, ids: torch.Tensor, positions: torch.Tensor, bucket: int, cache: RollbackCache
    ) -> _Step:
        ids = ids.clone()
        positions = positions.to(ids.device)
        every = torch.arange(bucket, device=ids.device)
        view = _StepCache(cache, positions, bucket)

        def compute() -> torch.Tensor:
            mask = (every <= positions[:, None])[None, None]
            rotations = self.rotations(self._embedding, positions[None])
            return self.logits(self._through(ids, mask, rotations, view))

        return _Step(ids, positions, self._recorded(compute, ids.device))

    def _recorded(
        self, compute: Callable[[], torch.Tensor], device: torch.device
    ) -> Callable[[], torch.Tensor]:
        if device.type != "cuda":
            return compute
        if self._side is None:
            # One for all steps: libraries hold memory for each stream that they have worked on.
            self._side = torch.cuda.Stream(device)
        return _recorded(compute, self._side)


def _bucket(length: int) -> int:
    """How far the cache is read where a text has so many tokens."""
    return -(-length // BUCKET) * BUCKET


class _StepCache:
    """A cache as one step sees it: written at its positions, read up to its bucket."""

    def __init__(self, cache: RollbackCache, positions: torch.Tensor, bucket: int) -> None:
        self._cache, self._positions, self._bucket = cache, positions, bucket

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        held = self._cache.layers[layer]
        assert held.keys is not None and held.values is not None
        held.keys.index_copy_(2, self._positions, keys)
        held.values.index_copy_(2, self._positions, values)
        return held.keys[:, :, : self._bucket], held.values[:, :, : self._bucket]


def _recorded(
    compute: Callable[[], torch.Tensor], side: torch.cuda.Stream
) -> Callable[[], torch.Tensor]:
    """``compute`` as a CUDA graph: to be called where its inputs hold what they are to hold.

    ``side`` is a stream of the model's own device. Any other's would record nothing of it: neither
    the current device need be the model's, nor that of the stream that torch would record on, which
    is one for all models of a process.
    """
    with torch.cuda.device(side.device):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=side):
            logits = compute()

    def replay() -> torch.Tensor:
        graph.replay()
        # The next replay writes there again.
        return logits.clone()

    return replay
