"""The losses: next token of the corpus, and the target's own choice of it."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor
from transformers import LlamaForCausalLM

from pearl_eval.training.config import Loss

#: How fast the mixed loss turns from the KL divergence to the total variation as more is accepted.
_TURN = 3.0


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


def distillation_loss(
    draft: Tensor, target: Tensor, weights: Tensor, greedy: float, loss: Loss = Loss.kl
) -> Tensor:
    """How far the draft is from the target, and cross-entropy on the target's first choice.

    Under greedy decoding only the first choice counts, under sampling the whole distribution;
    ``greedy`` in [0, 1] is the share of the first. For the whole distribution ``loss`` is ``kl``,
    the KL divergence; ``total_variation``, half the sum of the differences of probabilities, which
    is how often a drafted token is rejected (DistillSpec, arXiv 2310.08461); ``acceptance``, the
    negative logarithm of how often one is accepted; or ``mixed``, the KL divergence where little is
    accepted and the total variation where much is (both LK losses, arXiv 2602.23881).

    Parameters
    ----------
    draft, target : Tensor
        Logits, (…, vocabulary).
    weights : Tensor
        (…).
    greedy : float
    loss : Loss
    """
    log_q = functional.log_softmax(draft, -1)
    log_p = functional.log_softmax(target, -1)
    whole = _whole(log_p, log_q, loss)
    first = -log_q.gather(-1, target.argmax(-1, keepdim=True)).squeeze(-1)
    each = (1 - greedy) * whole + greedy * first
    return (each * weights).sum() / weights.sum()


def _whole(log_p: Tensor, log_q: Tensor, loss: Loss) -> Tensor:
    """How far ``q`` is from ``p``, as wholes."""
    if loss is Loss.kl:
        return _divergence(log_p, log_q)
    # In logarithms, since of models that agree on nothing all probabilities may round to 0.
    log_accepted = torch.minimum(log_p, log_q).logsumexp(-1)
    if loss is Loss.acceptance:
        return -log_accepted
    accepted = log_accepted.exp()
    if loss is Loss.total_variation:
        return 1 - accepted
    share = (-_TURN * accepted.detach()).exp()
    return share * _divergence(log_p, log_q) + (1 - share) * (1 - accepted)


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)
