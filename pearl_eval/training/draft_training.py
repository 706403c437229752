"""A draft model trained on texts and last hidden states of its target; how well it foresees."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, mse_loss

from pearl_eval.training.config import FitConfig
from pearl_eval.training.fitting import Schedule
from pearl_eval.training.losses import distillation_loss
from pearl_eval.training.target_text import TargetText

#: Tokens that were accepted and judged, of each text of a kind.
Accepted = dict[str, list[tuple[int, int]]]

#: Positions whose logits are made at once.
_AT_ONCE = 2048


@dataclass(frozen=True)
class Expected:
    """A text of some kind, and the target's choice of what comes after each token from ``first``.

    ``ids``: ``[tokens]``, ``wanted``: ``[tokens - 1 - first]``.
    """

    kind: str
    ids: Tensor
    first: int
    wanted: Tensor


class DraftTraining:
    """The loss of a draft model at each step.

    Only what is between embeddings and head is trained: those are the target's, and stay so.

    Parameters
    ----------
    draft
        A transformers causal LM in float32, whose embeddings and head are its target's.
    texts
        What is learned from.
    tokens
        Tokens of a small head, ``[tokens]``; ``None`` for a whole one.
    config
        How.
    seed
        Of which texts a step has.
    """

    def __init__(
        self,
        draft: Any,
        texts: Sequence[TargetText],
        tokens: Tensor | None,
        config: FitConfig,
        seed: int,
    ) -> None:
        self._draft, self._tokens, self._config, self._seed = draft, tokens, config, seed
        for embedding in (draft.get_input_embeddings(), draft.get_output_embeddings()):
            embedding.requires_grad_(False)
        rows = draft.get_output_embeddings().weight.detach()
        self._head = rows if tokens is None else rows[tokens.to(rows.device)]
        self._bf16 = config.bf16 if config.bf16 is not None else computes_bf16(draft.device.type)
        #: From the shortest to the longest, so that neighbours fill a batch with little padding.
        self._texts = sorted((one for one in texts if len(one.ids) > 1), key=lambda t: len(t.ids))

    def loss(self, step: int) -> Tensor:
        """The loss of a step, which depends on the step and the model alone."""
        batch = self._batch(step)
        ids, wanted, weights = self._padded(batch)
        hidden = self._hidden(ids)
        known = weights.flatten() > 0
        hidden, wanted = hidden.flatten(0, 1)[known], wanted.flatten(0, 1)[known]
        weights = weights.flatten()[known]
        total = hidden.new_zeros(())
        for start in range(0, len(hidden), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            of = distillation_loss(
                self._logits(hidden[part]),
                self._logits(wanted[part]),
                weights[part],
                self._config.first_choice,
                self._config.loss,
            )
            total = total + of * weights[part].sum()
        total = total / weights.sum()
        if self._config.hidden:
            # In units of their own size, which differs between models.
            apart = mse_loss(hidden.float(), wanted.float()) / wanted.float().square().mean()
            total = total + self._config.hidden * apart
        return total

    @torch.inference_mode()
    def expect(self, texts: Mapping[str, Sequence[TargetText]]) -> list[Expected]:
        """What a draft model must foresee of some texts, by kind.

        Of a text that the target wrote, what it wrote. Of one that it only read, what it would have
        written.
        """
        # With all tokens: those that a small head lacks can't be right.
        rows = self._draft.get_output_embeddings().weight.detach()
        if self._bf16:
            rows = rows.to(torch.bfloat16)
        found = []
        for kind, some in texts.items():
            for text in some:
                if len(text.ids) > 1:
                    if text.start < len(text.ids):
                        first = max(text.start - 1, 0)
                        wanted = text.ids[first + 1 :].to(rows.device)
                    else:
                        first, wanted = 0, (text.hidden.to(rows) @ rows.T).argmax(-1)
                    found.append(Expected(kind, text.ids, first, wanted))
        return found

    @torch.inference_mode()
    def accepted(self, expected: Sequence[Expected]) -> Accepted:
        """How often the draft model's first choice is what was expected, in each text, by kind.

        Under greedy decoding a drafted token is judged after the target's own text alone, so this
        is the acceptance rate.
        """
        found: Accepted = defaultdict(list)
        for one in expected:
            hidden = self._hidden(one.ids[None, :-1].to(self._draft.device))[0, one.first :]
            drafted = self._proposed(self._logits(hidden).argmax(-1))
            found[one.kind].append((int((drafted == one.wanted).sum()), len(one.wanted)))
        return dict(found)

    def _proposed(self, rows: Tensor) -> Tensor:
        return rows if self._tokens is None else self._tokens.to(rows.device)[rows]

    def _hidden(self, ids: Tensor) -> Tensor:
        with torch.autocast(self._draft.device.type, torch.bfloat16, enabled=self._bf16):
            output = self._draft.base_model(input_ids=ids, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        with torch.autocast(self._draft.device.type, torch.bfloat16, enabled=self._bf16):
            return linear(hidden.to(self._head.dtype), self._head).float()

    def _batch(self, step: int) -> list[TargetText]:
        """Texts of about one length, of at most so many tokens together with what fills them up."""
        random = np.random.default_rng((self._seed, step))
        first = int(random.integers(len(self._texts)))
        longest = len(self._texts[first].ids)
        rows = max(1, self._config.tokens // longest)
        # A stretch of the sorted texts, four times as long as it need be, drawn from.
        low = max(0, min(first - 2 * rows, len(self._texts) - 4 * rows))
        near = self._texts[low : low + 4 * rows]
        taken, longest = list[TargetText](), 0
        for index in random.permutation(len(near)):
            longest = max(longest, len(near[index].ids))
            if taken and (len(taken) + 1) * longest > self._config.tokens:
                break
            taken.append(near[index])
        return taken

    def _padded(self, batch: Sequence[TargetText]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, the target's last hidden states, and weights of what follows each token."""
        length, width = max(len(one.ids) for one in batch) - 1, batch[0].hidden.shape[1]
        ids = torch.zeros(len(batch), length, dtype=torch.long)
        wanted = torch.zeros(len(batch), length, width, dtype=batch[0].hidden.dtype)
        weights = torch.zeros(len(batch), length)
        for row, text in enumerate(batch):
            end = len(text.ids) - 1
            ids[row, :end], wanted[row, :end] = text.ids[:-1], text.hidden
            weights[row, :end] = 1.0
            if text.start < len(text.ids):
                weights[row, : text.start - 1] = self._config.prompt_weight
        device = self._draft.device
        return ids.to(device), wanted.to(device), weights.to(device)


def rates(accepted: Accepted) -> dict[str, float]:
    """The share of tokens that was accepted, of each kind of text."""
    return {
        kind: sum(right for right, _ in texts) / sum(count for _, count in texts)
        for kind, texts in accepted.items()
    }


def schedule(config: FitConfig) -> Schedule:
    """Rates that rise in a line, then fall as half a cosine does."""
    rise = max(1, round(config.warmup * config.steps))
    points = 24
    fall = {
        rise + round((config.steps - rise) * part / points): (
            0.5 + 0.5 * math.cos(math.pi * part / points)
        )
        for part in range(points + 1)
    }
    return Schedule(
        config.steps, config.matrix_lr, config.other_lr, {0: 1 / rise} | fall, config.every
    )


def computes_bf16(device: str) -> bool:
    """Whether a kind of device computes products in bfloat16 itself."""
    if device != "cpu":
        return True
    # From torch 2.12 on; before it nothing is known.
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))
