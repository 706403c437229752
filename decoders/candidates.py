"""transformers' candidate generators, kept from what they should not do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch

from decoders.model.cached_model import CachedModel


@contextlib.contextmanager
def cut_at_limit(target: CachedModel) -> Iterator[None]:
    """Keep transformers (5.23) from drafting beyond the longest text, where positions may end.

    Most of its generators do so where what they drafted goes on longer than the text may. A draft
    also ends before a token that the target can't produce.
    """
    model = cast(Any, target.model)
    make = model._get_candidate_generator

    def making(**arguments: Any) -> Any:
        generator = make(**arguments)
        draft, limit = generator.get_candidates, arguments["generation_config"].max_length

        def get_candidates(ids: torch.Tensor, **options: Any) -> tuple[torch.Tensor, Any]:
            found, logits = draft(ids, **options)
            known = ids.shape[1]
            unknown = (found[0, known:] >= target.vocab_size).nonzero()
            # The target adds a token itself.
            room = max(0, limit - 1 - known)
            count = min([found.shape[1] - known, room, *unknown[:1, 0].tolist()])
            return found[:, : known + count], logits[
                :, :count
            ] if count and logits is not None else None

        generator.get_candidates = get_candidates
        return generator

    model._get_candidate_generator = making
    try:
        yield
    finally:
        del model._get_candidate_generator


@contextlib.contextmanager
def giving(kind: type, method: str, value: Any) -> Iterator[None]:
    """Let a class method of transformers give ``value``, whatever it is asked for."""
    own = vars(kind)[method]
    setattr(kind, method, classmethod(lambda cls, *_, **__: value))
    try:
        yield
    finally:
        setattr(kind, method, own)
