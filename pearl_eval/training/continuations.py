"""A target's own greedy continuations of prompts: the text that a draft model must foresee."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, StaticCache


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


@torch.inference_mode()
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
    length = max(map(len, prompts))
    ids = torch.tensor([[0] * (length - len(prompt)) + prompt for prompt in prompts])
    total = length + new_tokens
    visible = torch.tensor(
        [[0] * (length - len(prompt)) + [1] * (len(prompt) + new_tokens) for prompt in prompts]
    )
    positions = (visible.cumsum(-1) - 1).clamp(min=0)
    cache = StaticCache(config=model.config, max_cache_len=total)
    out: list[Tensor] = []
    start = 0
    for end in range(length, total):
        logits = model(
            input_ids=ids,
            attention_mask=visible[:, :end],
            position_ids=positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)
        out.append(ids)
        start = end
    return torch.cat(out, -1)
