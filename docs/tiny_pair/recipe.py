"""The whole recipe, stage by stage; each leaves a file that lets a second start skip it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from pearl_eval.training.continuations import Continuations
from pearl_eval.training.fitting import Schedule, fit
from pearl_eval.training.losses import distillation_loss, logits_of, next_token_loss
from tiny_pair.batches import CorpusBatches, Packing
from tiny_pair.circuits import plant_induction, start_from_target
from tiny_pair.corpus.mixture import tokenizer_text
from tiny_pair.prompts import ContinuationPlan, continue_prompts
from tiny_pair.shapes import Shape, build
from tiny_pair.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Distillation:
    """How the draft is made to follow the target.

    Parameters
    ----------
    corpus_share : float
        Share of steps on corpus text; the others are on the target's own continuations.
    greedy : float
        Share of the loss that only looks at the target's first choice.
    tokens : int
        Tokens of a batch of continuations.
    """

    corpus_share: float
    greedy: float
    tokens: int


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the pair's weights.

    Parameters
    ----------
    seed : int
    threads : int
        Torch threads; results are the same on one machine for the same number.
    bf16 : bool
        Whether matrix products of training run in bfloat16.
    vocab_size, max_length, tokenizer_documents : int
        The tokenizer's size, the models' context in tokens, and how much text it is learnt from.
    target, draft : Shape
    packing : Packing
    target_schedule, draft_schedule : Schedule
    continuations : ContinuationPlan
    distillation : Distillation
    """

    seed: int
    threads: int
    bf16: bool
    vocab_size: int
    max_length: int
    tokenizer_documents: int
    target: Shape
    draft: Shape
    packing: Packing
    target_schedule: Schedule
    draft_schedule: Schedule
    continuations: ContinuationPlan
    distillation: Distillation


@dataclass(frozen=True)
class TrainedPair:
    """What training gives: both models, their tokenizer, and each step's loss."""

    tokenizer: PreTrainedTokenizerFast
    target: LlamaForCausalLM
    draft: LlamaForCausalLM
    target_losses: list[float]
    draft_losses: list[float]


def train_pair(recipe: Recipe, work: Path) -> TrainedPair:
    """Run the recipe, going on from whatever ``work`` holds of an earlier start.

    Parameters
    ----------
    recipe : Recipe
    work : Path
        Folder for the tokenizer, checkpoints and continuations.
    """
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(recipe.threads)
    tokenizer = make_tokenizer(recipe, work)
    batches = CorpusBatches(tokenizer, recipe.packing, recipe.seed)
    target, target_losses = train_target(recipe, tokenizer, batches, work)
    continuations = continue_prompts(
        target, tokenizer, recipe.continuations, recipe.seed, work / "continuations"
    )
    draft, draft_losses = distil_draft(recipe, tokenizer, target, batches, continuations, work)
    return TrainedPair(tokenizer, target, draft, target_losses, draft_losses)


def make_tokenizer(recipe: Recipe, work: Path) -> PreTrainedTokenizerFast:
    """Learn the tokenizer, or load it if that is done."""
    folder = work / "tokenizer"
    if not (folder / "tokenizer.json").exists():
        texts = tokenizer_text(
            random.Random(f"tokenizer {recipe.seed}"), recipe.tokenizer_documents
        )
        train_tokenizer(texts, recipe.vocab_size, recipe.max_length).save_pretrained(folder)
    loaded = PreTrainedTokenizerFast.from_pretrained(folder)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    return loaded


def train_target(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, batches: CorpusBatches, work: Path
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train the target on corpus text."""
    target = build(recipe.target, tokenizer, recipe.seed)
    plant_induction(target)

    def loss_of(step: int) -> Tensor:
        ids, weights = batches(step)
        return next_token_loss(logits_of(target, ids[:, :-1], recipe.bf16), ids[:, 1:], weights)

    fitted = fit(target, loss_of, recipe.target_schedule, work / "target.pt", "target")
    return target, fitted.losses


def distil_draft(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    target: LlamaForCausalLM,
    batches: CorpusBatches,
    continuations: Continuations,
    work: Path,
) -> tuple[LlamaForCausalLM, list[float]]:
    """Train the draft to say what the target says."""
    draft = build(recipe.draft, tokenizer, recipe.seed + 1)
    start_from_target(draft, target)
    plan = recipe.distillation

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((recipe.seed, step))
        if rng.random() < plan.corpus_share:
            # Beyond the target's steps, so that this text is new to the target too.
            ids, weights = batches(recipe.target_schedule.steps + step)
        else:
            ids, weights = continuations.batch(rng, plan.tokens)
        with torch.no_grad():
            wanted = logits_of(target, ids[:, :-1], recipe.bf16)
        return distillation_loss(
            logits_of(draft, ids[:, :-1], recipe.bf16), wanted, weights, plan.greedy
        )

    fitted = fit(draft, loss_of, recipe.draft_schedule, work / "draft.pt", "draft")
    return draft, fitted.losses
