"""A model whose arithmetic for a token does not depend on how decoding got there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from transformers import PreTrainedModel

from decoders.model.cached_model import CachedModel
from decoders.model.tree import Tree

#: Token positions of every forward.
WINDOW = 8


class FixedWindowModel(CachedModel):
    """Every forward runs on the same ``WINDOW`` positions, whatever was seen before.

    The text is cut into windows that begin at multiples of ``WINDOW``. A forward over a window
    reads all of its tokens again, also those already seen, and fills up what is not there yet. So a
    token is always computed in the same row of products of the same shapes, over keys and values of
    the same length, and its logits come out bit for bit the same, whether it was decoded alone or
    judged in a block, as long as the kernels treat the rows of a product alike. It costs time.
    """

    def __init__(
        self, model: PreTrainedModel, vocab_size: int | None = None, known: int | None = None
    ) -> None:
        super().__init__(model, vocab_size, known)
        self.one_forward = False

    def prepare(self, windows: Iterable[int], start: int, end: int) -> None:
        """As of :class:`CachedModel`: whatever is to be read, a forward reads a window."""
        super().prepare([WINDOW], start - start % WINDOW, end + WINDOW)

    def _extend(self, tokens: Sequence[int], rows: int) -> torch.Tensor:
        wanted = len(tokens) - rows
        kept = []
        for start in range(self.length - self.length % WINDOW, len(tokens), WINDOW):
            window = list(tokens[start : start + WINDOW])
            # There may be no positions beyond the context; then the last window is a shorter one.
            room = self.architecture.context - start - len(window)
            filler = [0] * max(0, min(WINDOW - len(window), room))
            self._rollback(start)
            read = [*tokens[:start], *window, *filler]
            logits = super()._extend(read, rows=len(read) - start)
            if start + WINDOW > wanted:
                kept.append(logits[max(0, wanted - start) : len(window)])
        self._rollback(len(tokens))
        return torch.cat(kept)

    def _extend_tree(self, tokens: Sequence[int], tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        """As of :class:`CachedModel`, but each path of the tree is read on its own, as a text."""
        rows = []
        for node in nodes:
            self._rollback(len(tokens) - 1)
            rows.append(self._extend([*tokens, *tree.path(node)], rows=1))
        self._rollback(len(tokens))
        return torch.cat(rows)

    def _keep(self, length: int, nodes: Sequence[int]) -> None:
        """As of :class:`CachedModel`; what is kept is read again with what follows it."""
        self._rollback(length)
