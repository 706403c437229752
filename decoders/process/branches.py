"""Continuations of a text that a draft model drafts side by side, each forward a token of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from decoders.model.cached_model import CachedModel
from decoders.model.tree import Tree
from decoders.sampling.sampler import Downscaling, Draft, Proposer


@dataclass(slots=True)
class Branch:
    """A continuation: so many ``accepted`` tokens after the text, ``token``, and a draft, of
    ``count`` tokens at last."""

    accepted: int
    token: int
    count: int
    proposer: Proposer
    #: Its newest token in the tree, which is yet to be read.
    node: int
    draft: Draft = field(default_factory=Draft)


def as_it_is(place: int) -> None:
    """Nothing is downscaled at any place of a draft."""


def lengthen(
    branches: Sequence[Branch],
    model: CachedModel,
    known: int,
    tree: Tree,
    downscaling: Callable[[int], Downscaling | None] = as_it_is,
) -> None:
    """Draft one more token of each of these continuations of a text of ``known`` tokens, in one
    forward; ``downscaling`` is that of the token at a place of its draft, from 0."""
    logits = model.grow_tree(known, tree, [one.node for one in branches])
    for index, one in enumerate(branches):
        place = len(one.draft)
        position = known + one.accepted + 1 + place
        row = logits[index : index + 1]
        one.draft.append(*one.proposer.propose(row, position, downscaling(place)))
        if len(one.draft) < one.count:
            one.node = tree.add(one.draft.tokens[-1], one.node)
