"""Batches of packed corpus text, each a function of the seed and the step alone.

A step's batch does not depend on the steps before it, so an interrupted run resumes on the
same data without saving any generator's state.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from tiny_pair.corpus.document import EOS
from tiny_pair.corpus.mixture import draw_document, draw_few_shot


@dataclass(frozen=True)
class Packing:
    """How a batch is laid out.

    Parameters
    ----------
    tokens : int
        Tokens of a batch; rows times length.
    lengths : dict of int to float
        Row lengths in tokens and how often a batch has each. Few are long: attention makes them
        slow, and they are there so that long prompts are not new to the model.
    prompt_weight : float
        Weight of a prompt's tokens in the loss, a completion's being 1. Prompts are full of
        numbers and names drawn at random, which nothing can predict.
    shares, late_shares : dict of str to float
        How often a document of each kind comes, before step ``late_from`` and from there on.
    late_from : int
        A wide mixture teaches the language; what is learnt last is what tasks ask for.
    """

    tokens: int
    lengths: dict[int, float]
    prompt_weight: float
    shares: dict[str, float]
    late_shares: dict[str, float]
    late_from: int


class CorpusBatches:
    """Draws the batch of any step.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
    packing : Packing
    seed : int
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, packing: Packing, seed: int) -> None:
        self._tokenizer = tokenizer
        self._packing = packing
        self._seed = seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of ``step``.

        Returns
        -------
        ids : Tensor
            Token ids of shape (rows, length + 1); inputs and targets overlap by all but one.
        weights : Tensor
            Weight in the loss of each target, of shape (rows, length).
        """
        rng = random.Random(f"batch {self._seed} {step}")
        lengths = self._packing.lengths
        length = rng.choices(list(lengths), weights=list(lengths.values()))[0]
        late = step >= self._packing.late_from
        shares = self._packing.late_shares if late else self._packing.shares
        rows = [
            self._row(rng, length, shares) for _ in range(max(1, self._packing.tokens // length))
        ]
        ids = torch.tensor([row for row, _ in rows])
        weights = torch.tensor([weight for _, weight in rows])
        return ids, weights[:, 1:]

    def _row(
        self, rng: random.Random, length: int, shares: dict[str, float]
    ) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []
        document = draw_document(rng, length // 160, shares)
        if length >= 1024:
            document = draw_few_shot(rng, rng.randint(4, 8))
        while len(ids) <= length:
            prompt = self._encode(document.prompt)
            completion = self._encode(document.completion + EOS)
            ids += prompt + completion
            weights += [self._packing.prompt_weight] * len(prompt) + [1.0] * len(completion)
            document = draw_document(rng, length // 160, shares)
        return ids[: length + 1], weights[: length + 1]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids
