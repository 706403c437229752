"""A statistical test that the sampled tokens of a run are distributed as the target's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special, stats
from torch.nn import functional

from decoders.model.cached_model import CachedModel
from pearl_eval.checks.rounding import CHUNK
from pearl_eval.results.records import SIGNIFICANCE

#: The chance with which the smallest bias that is named would be seen.
_POWER = 0.99
#: First ranks of the cells that tokens are counted in, most probable token first.
_RANKS = (1, 2, 4)
_RANK_CELLS = len(_RANKS) + 1

#: Logits ``[rows, vocab]`` to the probabilities that are sampled from.
Probabilities = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Fit:
    """How well sampled tokens fit the target's distribution.

    ``p_value`` is the chance of a worse fit if nothing is wrong. ``smallest_bias`` is the smallest
    error of the most probable token's probability, the same at every token, that this many tokens
    show with 99 % probability (as a p-value below ``SIGNIFICANCE``).
    """

    tokens: int
    p_value: float
    smallest_bias: float

    @property
    def refused(self) -> bool:
        return self.p_value < SIGNIFICANCE


class SampledTokens:
    """Sampled tokens beside the distributions that they should have been drawn from.

    Tokens are counted by their rank in that distribution and by whether their id is odd; and the
    quantile of each is correlated with that of the token before, which random numbers used twice
    would show. Expectation and covariance of these features are known exactly for each token, and
    their deviations are uncorrelated over tokens (martingale differences), so that the sum S of
    deviations and the sum V of covariances give a chi-square statistic Sᵀ V⁻¹ S.
    """

    def __init__(self) -> None:
        self.tokens = 0
        features = 4 * _RANK_CELLS + 1
        self._deviation = np.zeros(features)
        self._covariance = np.zeros((features, features))

    def count(self, p: torch.Tensor, q: torch.Tensor, token: int, before: float) -> float:
        """Take in one token.

        Parameters
        ----------
        p
            The distribution it should have been drawn from, ``[vocab]``, in float64 on the CPU.
        q
            The draft model's; ``p`` itself where there is none, or it is not known.
        before
            What this gave for the token before in the same text; 0 for the first.

        Returns
        -------
        The token's quantile, from -1/2 to 1/2.
        """
        rank = torch.empty_like(p)
        rank[p.argsort(descending=True)] = torch.arange(len(p), dtype=p.dtype)
        cell = torch.bucketize(rank, torch.tensor(_RANKS, dtype=p.dtype), right=True)
        cell = cell + _RANK_CELLS * (torch.arange(len(p)) % 2)
        cell = cell + 2 * _RANK_CELLS * (q > p)
        quantile = p.cumsum(-1) - p / 2 - 0.5
        entered = functional.one_hot(cell, 4 * _RANK_CELLS).to(p.dtype)
        features = torch.column_stack([entered, quantile * before])
        weighted = p[:, None] * features
        mean = weighted.sum(0)
        self.tokens += 1
        self._deviation += (features[token] - mean).numpy()
        self._covariance += (features.T @ weighted - mean.outer(mean)).numpy()
        return float(quantile[token])

    def merge(self, other: SampledTokens) -> None:
        """Take in all tokens of another text, or of several."""
        self.tokens += other.tokens
        self._deviation += other._deviation
        self._covariance += other._covariance

    def fit(self) -> Fit:
        """The verdict on all tokens so far; there must be one."""
        deviation, covariance = np.asarray(self._deviation), np.asarray(self._covariance)
        # Cells that can hardly be entered say nothing, and a chi-square is poor for them.
        scale = np.sqrt(np.diag(covariance))
        kept = scale > max(1.0, 1e-3 * scale.max())
        if not kept.any():
            return Fit(self.tokens, 1.0, 1.0)
        correlation = covariance[np.ix_(kept, kept)] / np.outer(scale[kept], scale[kept])
        standard = deviation[kept] / scale[kept]
        inverse = np.linalg.pinv(correlation, rcond=1e-6)
        degrees = int(np.linalg.matrix_rank(correlation, tol=1e-6))
        statistic = float(standard @ inverse @ standard)
        limit = stats.chi2.isf(SIGNIFICANCE, degrees)
        # The noncentrality at which a statistic exceeds the limit with that chance.
        shift = special.chndtrinc(limit, degrees, 1 - _POWER)
        first = self._top_variance(covariance)
        bias = min(1.0, float(np.sqrt(shift * first)) / self.tokens)
        return Fit(self.tokens, float(stats.chi2.sf(statistic, degrees)), bias)

    @staticmethod
    def _top_variance(covariance: np.ndarray) -> float:
        """Variance of how often the most probable token came, over its four cells."""
        cells = [i * _RANK_CELLS for i in range(4)]
        return float(covariance[np.ix_(cells, cells)].sum())


class DistributionCheck(SampledTokens):
    """Compares every sampled token with the target's distribution given the tokens before it.

    Parameters
    ----------
    target
        The target model of the run.
    probabilities
        What the run samples from.
    draft
        If given, tokens that it finds more probable than the target does are counted apart: what a
        fault in accepting or resampling drafted tokens shows in most.
    draft_probabilities
        What that model's tokens are drawn from, if otherwise than the target's.
    """

    def __init__(
        self,
        target: CachedModel,
        probabilities: Probabilities,
        draft: CachedModel | None = None,
        draft_probabilities: Probabilities | None = None,
    ) -> None:
        super().__init__()
        self._target = target
        self._probabilities = probabilities
        self._draft = draft
        self._draft_probabilities = draft_probabilities or probabilities

    @torch.inference_mode()
    def add(self, prompt: Sequence[int], output: Sequence[int]) -> None:
        """Take in one sampled output."""
        text = [*prompt, *output]
        before = 0.0
        for model in (self._target, self._draft):
            if model is not None:
                model.rollback(0)
        for start in range(0, len(text) - 1, CHUNK):
            seen = text[: min(start + CHUNK, len(text) - 1)]
            skip = max(0, len(prompt) - 1 - start)
            rows = self._rows(self._target, self._probabilities, seen, start)
            drafts = rows
            if self._draft:
                drafts = self._rows(self._draft, self._draft_probabilities, seen, start)
            for index in range(skip, len(rows)):
                before = self.count(rows[index], drafts[index], text[start + index + 1], before)

    @staticmethod
    def _rows(
        model: CachedModel, probabilities: Probabilities, seen: list[int], start: int
    ) -> torch.Tensor:
        return probabilities(model.extend(seen, rows=len(seen) - start)).double().cpu()
