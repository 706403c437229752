"""A target's own greedy continuations of prompts: the text that a draft model must foresee."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from pearl_eval.training.target_text import write


class Continuations:
    """Prompts with continuations, by group, and batches of them for training."""

    def __init__(self, groups: list[tuple[np.ndarray, np.ndarray]], new_tokens: int) -> None:
        self._groups = groups
        self._new_tokens = new_tokens

    def batch(self, rng: np.random.Generator, tokens: int) -> tuple[Tensor, Tensor]:
        """Token ids (rows, length + 1) and weights (rows, length), 1 on what was generated.

        Rows of one group, so many as come to about ``tokens``. They end in padding where another
        row's prompt is longer.
        """
        ids, prompt_lengths = self._groups[rng.integers(len(self._groups))]
        rows = min(len(ids), max(1, tokens // ids.shape[1]))
        chosen = rng.choice(len(ids), size=rows, replace=False)
        lengths = prompt_lengths[chosen] + self._new_tokens
        picked = torch.from_numpy(ids[chosen, : lengths.max()].astype(np.int64))
        position = torch.arange(1, int(lengths.max()))
        first = torch.from_numpy(prompt_lengths[chosen])[:, None]
        weights = (position >= first) & (position < first + self._new_tokens)
        return picked, weights.float()


def greedy(model: PreTrainedModel, prompts: list[list[int]], new_tokens: int) -> Tensor:
    """Continue several prompts at once, greedily and past any end of text.

    Parameters
    ----------
    model : PreTrainedModel
    prompts : list of list of int
        Token ids; padded on the left to one length.
    new_tokens : int

    Returns
    -------
    Tensor
        New token ids, (prompts, new_tokens).
    """
    texts = write(model, prompts, new_tokens, stops=())
    return torch.stack([text.ids[text.start :] for text in texts])
