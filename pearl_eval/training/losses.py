"""The two losses: next token of the corpus, and the target's own choice of it."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor
from transformers import LlamaForCausalLM


def logits_of(model: LlamaForCausalLM, ids: Tensor, bf16: bool) -> Tensor:
    """Scores of the next token at each position, (rows, length, vocabulary), in float32."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits.float()


def next_token_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean cross-entropy, in nats.

    Parameters
    ----------
    logits : Tensor
        (rows, length, vocabulary).
    targets : Tensor
        Token ids, (rows, length).
    weights : Tensor
        (rows, length).
    """
    each = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (each * weights.flatten()).sum() / weights.sum()


def distillation_loss(draft: Tensor, target: Tensor, weights: Tensor, greedy: float) -> Tensor:
    """How far the draft is from the target: KL divergence, and cross-entropy on its first choice.

    Under greedy decoding only the first choice counts, under sampling the whole distribution;
    ``greedy`` in [0, 1] is the share of the first.

    Parameters
    ----------
    draft, target : Tensor
        Logits, (rows, length, vocabulary).
    weights : Tensor
        (rows, length).
    greedy : float
    """
    log_q = functional.log_softmax(draft, -1)
    log_p = functional.log_softmax(target, -1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1)
    first = -log_q.gather(-1, target.argmax(-1, keepdim=True)).squeeze(-1)
    each = (1 - greedy) * divergence + greedy * first
    return (each * weights).sum() / weights.sum()
