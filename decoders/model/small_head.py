"""A head over a model's most frequent tokens: the others have no chance of being drafted.

Most of what a small draft model costs is its head, a row for each token of a vocabulary that the
target decides. A few thousand tokens make up almost all text, and a draft model that never proposes
the others only loses what it would have been right about there (FR-Spec, arXiv 2502.14856; the head
of EAGLE-3, arXiv 2503.01840, has such a map, too).
"""

from __future__ import annotations

import torch
from torch import nn


class SmallHead(nn.Module):
    """Gives logits of all tokens, -inf where it has no row.

    Parameters
    ----------
    rows
        The head's weights of the tokens it has, ``[tokens, width]``.
    tokens
        Their ids, ascending.
    vocab_size
        How many tokens there are.
    """

    tokens: torch.Tensor
    #: Gives logits of its own tokens.
    project: nn.Module

    def __init__(self, rows: torch.Tensor, tokens: torch.Tensor, vocab_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(rows.shape[1], rows.shape[0], bias=False, device="meta")
        self.project.weight = nn.Parameter(rows, requires_grad=False)
        self.register_buffer("tokens", tokens, persistent=False)
        self.vocab_size = vocab_size

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.spread(self.project(hidden))

    def spread(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of all tokens, ``[…, vocab_size]``, of those of its own, ``[…, tokens]``."""
        every = logits.new_full((*logits.shape[:-1], self.vocab_size), -torch.inf)
        return every.index_copy_(-1, self.tokens, logits)


def shrink_head(model: nn.Module, tokens: torch.Tensor) -> None:
    """Give a transformers causal LM a head over ``tokens`` alone. Embeddings stay as they are.

    Raises ValueError where the head has a bias, or no row for one of them.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    if getattr(head, "bias", None) is not None:
        raise ValueError("its head has a bias")
    rows = head.weight.shape[0]
    if not len(tokens) or int(tokens.min()) < 0 or int(tokens.max()) >= rows:
        raise ValueError(f"expected ids of tokens below {rows}")
    own = tokens.unique().to(head.weight.device)
    model.set_output_embeddings(SmallHead(head.weight.detach()[own].clone(), own, rows))  # type: ignore[operator]
