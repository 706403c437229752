"""Texts that a target wrote or read, with its last hidden states: what is learned from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from decoders.model.cache import RollbackCache
from pearl_eval.errors import UserError, reason
from pearl_eval.results.journal import replacing
from pearl_eval.training.grouped_attention import grouped

#: Chooses tokens, ``[texts]``, from logits, ``[texts, vocabulary]``.
Choose = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TargetText:
    """A text, and what the target's last layer said at each of its tokens but the last.

    Parameters
    ----------
    ids
        Token ids, ``[tokens]``.
    hidden
        Last hidden states, ``[tokens - 1, width]``: what its head makes logits of.
    start
        The first token that the target wrote; the length of the text where it only read it.
    """

    ids: Tensor
    hidden: Tensor
    start: int


def most_probable(logits: Tensor) -> Tensor:
    """The most probable tokens."""
    return logits.argmax(-1)


class Drawn:
    """Draws tokens at a temperature, by a seed."""

    def __init__(self, temperature: float, seed: int) -> None:
        self._temperature = temperature
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, logits: Tensor) -> Tensor:
        chances = (logits.float().cpu() / self._temperature).softmax(-1)
        return chances.multinomial(1, generator=self._random)[:, 0].to(logits.device)


@torch.inference_mode()
def write(
    model: Any,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    stops: Collection[int],
    choose: Choose = most_probable,
) -> list[TargetText]:
    """Let a model continue several prompts at once, each up to a stop token or ``new_tokens``.

    ``model`` is a transformers causal LM. A stop token is the last of its text.
    """
    length, device = max(map(len, prompts)), model.device
    # Filled up at the left, so that all go on at the same place.
    rows = [[0] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    seen = [[0] * (length - len(prompt)) + [1] * (len(prompt) + new_tokens) for prompt in prompts]
    ids, visible = torch.tensor(rows, device=device), torch.tensor(seen, device=device)
    positions = (visible.cumsum(-1) - 1).clamp(min=0)
    config = model.config.get_text_config()
    cache = RollbackCache(config.num_hidden_layers, length + new_tokens)
    ends = torch.tensor(sorted(stops), device=device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    states, every = [], [ids]
    with grouped(model):
        for end in range(length, length + new_tokens):
            hidden = model.base_model(
                input_ids=every[-1],
                attention_mask=visible[:, :end],
                position_ids=positions[:, cache.length : end],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            states.append(hidden)
            # A model that is spread over several devices has its head on one of them.
            chosen = choose(model.get_output_embeddings()(hidden[:, -1])).to(device)
            every.append(chosen[:, None])
            ended |= torch.isin(chosen, ends)
            if bool(ended.all()):
                break
    whole, hidden = torch.cat(every, 1).cpu(), torch.cat(states, 1).cpu()
    made = []
    for row, prompt in enumerate(prompts):
        first = length - len(prompt)
        stop = torch.isin(whole[row, length:], ends.cpu()).nonzero()
        end = length + int(stop[0, 0]) + 1 if len(stop) else whole.shape[1]
        # Cloned: a view would keep the whole batch.
        text = whole[row, first:end].clone()
        made.append(TargetText(text, hidden[row, first : end - 1].clone(), len(prompt)))
    return made


@torch.inference_mode()
def read(model: Any, texts: Sequence[Sequence[int]]) -> list[TargetText]:
    """Let a model read several texts at once."""
    width = max(map(len, texts))
    rows = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
    hidden = model.base_model(input_ids=rows.to(model.device), use_cache=False).last_hidden_state
    hidden = hidden.cpu()
    return [
        TargetText(torch.tensor(text), hidden[row, : len(text) - 1].clone(), len(text))
        for row, text in enumerate(texts)
    ]


def save_texts(texts: Sequence[TargetText], path: Path) -> None:
    """Write texts to a file, which is there as a whole or not at all. OSError where it can't be."""
    tensors = {
        "lengths": torch.tensor([len(one.ids) for one in texts]),
        "starts": torch.tensor([one.start for one in texts]),
        "ids": torch.cat([one.ids for one in texts] or [torch.zeros(0)]).to(torch.int32),
        "hidden": torch.cat([one.hidden for one in texts] or [torch.zeros(0)]),
    }
    with replacing(path) as unfinished:
        try:
            save_file(tensors, unfinished)
        except SafetensorError as error:  # as of a full disk
            raise OSError(f"{path} can't be written: {reason(error)}") from error


def load_texts(path: Path) -> Iterator[TargetText]:
    """The texts of a file. :class:`UserError` where it is damaged."""
    try:
        saved = load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{path} is damaged or cut short ({reason(error)}): copy it again, or delete it"
        ) from error
    at = rows = 0
    for length, start in zip(saved["lengths"].tolist(), saved["starts"].tolist(), strict=True):
        hidden = saved["hidden"][rows : rows + length - 1]
        yield TargetText(saved["ids"][at : at + length].long(), hidden, start)
        at, rows = at + length, rows + length - 1
