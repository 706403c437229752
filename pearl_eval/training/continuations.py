"""The target's own greedy continuations of many prompts: the text that a draft must foresee."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, StaticCache

from pearl_eval.training.corpus.mixture import draw_few_shot, draw_prompt


@dataclass(frozen=True)
class ContinuationPlan:
    """How many continuations of how many tokens.

    Parameters
    ----------
    groups : int
        Groups of prompts; a group is continued in one batch and saved in one file.
    rows : int
        Prompts in a group.
    new_tokens : int
        Tokens after each prompt, past any end of text, as a benchmark would generate.
    longest_prompt : int
        Longer prompts lose their beginning, in tokens.
    """

    groups: int
    rows: int
    new_tokens: int
    longest_prompt: int


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


def continue_prompts(
    target: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: ContinuationPlan,
    seed: int,
    folder: Path,
) -> Continuations:
    """Continue prompts of the mixture greedily; groups that ``folder`` already has are loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = []
    for index in track(range(plan.groups), "continuations"):
        path = folder / f"{index:04d}.npz"
        if not path.exists():
            ids, lengths = _group(target, tokenizer, plan, random.Random(f"group {seed} {index}"))
            beside = path.with_suffix(".part.npz")
            np.savez(beside, ids=ids, lengths=lengths)
            os.replace(beside, path)
        with np.load(path) as saved:
            groups.append((saved["ids"], saved["lengths"]))
    return Continuations(groups, plan.new_tokens)


def _group(
    target: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: ContinuationPlan,
    rng: random.Random,
) -> tuple[np.ndarray, np.ndarray]:
    # Prompts of one length class, so that little of a batch is padding.
    longest = rng.choices((160, 320, plan.longest_prompt), weights=(5, 4, 2))[0]
    rows = plan.rows if longest <= 320 else max(1, plan.rows // 4)
    prompts: list[list[int]] = []
    shortest = 0 if longest == 160 else 160 if longest == 320 else 320
    while len(prompts) < rows:
        long = longest > 320
        text = draw_few_shot(rng, rng.randint(4, 8)).prompt if long else draw_prompt(rng, 2)
        encoded: list[int] = tokenizer(text)["input_ids"]
        if shortest < len(encoded) or rng.random() < 0.02:
            prompts.append(encoded[-min(longest, plan.longest_prompt) :])
    lengths = np.array([len(prompt) for prompt in prompts])
    ids = np.full((rows, lengths.max() + plan.new_tokens), tokenizer.pad_token_id, np.uint16)
    for row, prompt, new in zip(
        ids, prompts, greedy(target, prompts, plan.new_tokens).numpy(), strict=True
    ):
        row[: len(prompt)] = prompt
        row[len(prompt) : len(prompt) + plan.new_tokens] = new
    return ids, lengths


@torch.inference_mode()
def greedy(model: LlamaForCausalLM, prompts: list[list[int]], new_tokens: int) -> Tensor:
    """Continue several prompts at once, greedily and past any end of text.

    Parameters
    ----------
    model : LlamaForCausalLM
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
