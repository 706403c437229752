"""Tokens that branch off the end of a text, so that one forward can read many continuations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

#: The node that stands for the last token of the text, from which every branch starts.
ROOT = -1


class Tree:
    """Tokens after the end of a text; each follows one other, several may follow the same.

    A node attends to the text, to the nodes it descends from and to itself. Nodes are numbered from
    0 in the order in which they are added.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        #: Number of steps from the last token of the text, by node.
        self.depths: list[int] = []
        self._ancestors: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, token: int, parent: int = ROOT) -> int:
        """Add a token after a node or after the text (``ROOT``); gives its own node."""
        node = len(self.tokens)
        above = [] if parent == ROOT else self._ancestors[parent]
        self.tokens.append(token)
        self._ancestors.append([*above, node])
        self.depths.append(len(above) + 1)
        return node

    def path(self, node: int) -> list[int]:
        """The tokens from the end of the text to a node, its own included."""
        return [] if node == ROOT else [self.tokens[one] for one in self._ancestors[node]]

    def visible(self, start: int = 0) -> torch.Tensor:
        """Which nodes each node attends to, from node ``start`` on, ``[some, nodes]``, bool."""
        some = self._ancestors[start:]
        rows = [[False] * len(self) for _ in some]
        for row, ancestors in zip(rows, some, strict=True):
            for node in ancestors:
                row[node] = True
        return torch.tensor(rows, dtype=torch.bool).reshape(len(some), len(self))


class Branches:
    """Continuations of a text in a tree, in which those that begin alike share nodes."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._children: dict[int, dict[int, int]] = {}

    def add(self, tokens: Sequence[int]) -> None:
        """Add a continuation of the text."""
        node = ROOT
        for token in tokens:
            children = self._children.setdefault(node, {})
            if token not in children:
                children[token] = self.tree.add(token, node)
            node = children[token]

    def after(self, node: int) -> dict[int, int]:
        """The nodes that follow one node, by token."""
        return self._children.get(node, {})

    def depth_first(self, node: int = ROOT) -> Iterator[int]:
        """The nodes below one, each before those that follow it."""
        for child in self.after(node).values():
            yield child
            yield from self.depth_first(child)
