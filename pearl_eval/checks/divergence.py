"""A token of an output that is not the target's first choice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Divergence:
    """A token that is not the target's first choice.

    Its position among the generated tokens, the token, the target's own, their logits in higher
    precision (plus the noise that chose among them where there is some), and how far apart these
    may be by rounding alone.
    """

    position: int
    token: int
    expected: int
    token_logit: float
    expected_logit: float
    tolerance: float

    @property
    def gap(self) -> float:
        return self.expected_logit - self.token_logit


def divergences(
    scores: torch.Tensor, tokens: Sequence[int], allowed: Sequence[float], sharpness: float
) -> Iterator[Divergence]:
    """The tokens that do not have the largest of their ``scores``, ``[tokens, vocab]``.

    ``allowed`` is how far any two logits may be off, for each token, and ``sharpness`` what a
    difference of logits is multiplied with in ``scores``.
    """
    best, choices = scores.max(dim=-1)
    theirs = scores_of(scores, tokens)
    for position in (theirs < best).nonzero()[:, 0].tolist():
        yield Divergence(
            position,
            tokens[position],
            int(choices[position]),
            float(theirs[position]),
            float(best[position]),
            sharpness * allowed[position],
        )


def describe(divergence: Divergence) -> str:
    """What a violation says of the token that is one."""
    cut = math.isinf(divergence.token_logit)
    logit = "cut off by top-k or top-p" if cut else f"logit {divergence.token_logit:.6g}"
    return (
        f"position {divergence.position}: token {divergence.token} ({logit}) where the target's own"
        f" is {divergence.expected} (logit {divergence.expected_logit:.6g}), tolerance"
        f" {divergence.tolerance:.2g}"
    )


def scores_of(scores: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """The score of one token in each row."""
    index = torch.tensor(tokens, device=scores.device)
    return scores[torch.arange(len(index), device=scores.device), index]
