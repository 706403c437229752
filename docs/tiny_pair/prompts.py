"""Many prompts of the mixture, continued by the target."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from pearl_eval.training.continuations import Continuations, greedy
from tiny_pair.corpus.mixture import draw_few_shot, draw_prompt


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
