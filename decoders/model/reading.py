"""What the forwards over one text read, so that they can be made again in the same shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decoders.model.tree import Tree


@dataclass(frozen=True, slots=True)
class Reading:
    """One forward over tokens that follow each other.

    ``start`` tokens were in the cache, ``tokens`` were read, and for the last ``rows`` of them
    logits were wanted. ``by_library``: one of transformers' own decoding loops called the model.
    """

    start: int
    tokens: Sequence[int]
    rows: int
    by_library: bool = False


@dataclass(frozen=True, slots=True)
class TreeReading:
    """One forward over ``tokens`` and a ``tree`` after them, with logits after some ``nodes``."""

    start: int
    tokens: Sequence[int]
    tree: Tree
    nodes: Sequence[int]


@dataclass(frozen=True, slots=True)
class Kept:
    """A path of the last tree became part of the text of ``length`` tokens."""

    length: int
    nodes: Sequence[int]


Event = Reading | TreeReading | Kept
