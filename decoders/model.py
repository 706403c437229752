"""One cached-model class over a transformers causal language model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from decoders.cache import RollbackCache

#: Tokens a cache has room for before it first grows.
INITIAL_CAPACITY = 1024
_HIGHER_PRECISION = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float64,
}


class CachedModel:
    """A causal language model with a key/value cache that can be extended and rolled back.

    Parameters
    ----------
    model
        A transformers causal LM with full (not sliding-window) attention.
    vocab_size
        Number of token ids, from 0 on, that the model may produce. Logits beyond it, as of padded
        embeddings, are cut off.
    known
        Number of those that the model itself knows, if fewer: a draft model's vocabulary may be
        shorter than its target's. The others have logit -inf, and one that is read is read as
        token 0, which can only cost a draft model acceptance.
    """

    def __init__(
        self, model: PreTrainedModel, vocab_size: int | None = None, known: int | None = None
    ) -> None:
        config = model.config.get_text_config()
        self.model = model.eval()
        self.device = model.device
        self.vocab_size = vocab_size or config.vocab_size
        self._known = self.vocab_size if known is None else known
        self.cache = RollbackCache(config.num_hidden_layers, INITIAL_CAPACITY)

    @property
    def length(self) -> int:
        """Number of tokens in the cache."""
        return self.cache.length

    def rollback(self, length: int) -> None:
        """Forget every token from position ``length`` on; a length not yet reached is no change."""
        if length < self.cache.length:
            self.cache.rollback(length)

    @torch.inference_mode()
    def extend(self, tokens: Sequence[int], rows: int) -> torch.Tensor:
        """Run one forward over the tokens the cache has not seen.

        Parameters
        ----------
        tokens
            The whole text from its first token; its first ``length`` ids are taken as seen.
        rows
            For how many of the last positions logits are wanted, at most the number of unseen ones.

        Returns
        -------
        Logits, ``[rows, vocab_size]``, in the model's dtype.
        """
        unseen = list(tokens[self.cache.length :])
        if not 1 <= rows <= len(unseen):
            raise ValueError(f"{rows} rows of logits asked of {len(unseen)} unseen tokens")
        if max(unseen) >= self._known:
            unseen = [token if token < self._known else 0 for token in unseen]
        ids = torch.tensor([unseen], device=self.device)
        output = self.model(
            input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=rows
        )
        logits = output.logits[0, :, : self._known]
        unknown = self.vocab_size - self._known
        return pad(logits, (0, unknown), value=-torch.inf) if unknown else logits

    def in_higher_precision(self) -> CachedModel:
        """This model computing in a wider dtype: float32, or float64 for float32.

        It shares the weights and widens them a layer at a time while it runs, so it needs no memory
        for a second model.
        """
        return WidenedModel(self.model, self.vocab_size, self._known)

    def synchronize(self) -> None:
        """Wait until the device has finished what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class WidenedModel(CachedModel):
    """A model that runs in a wider dtype than its weights have."""

    @torch.inference_mode()
    def extend(self, tokens: Sequence[int], rows: int) -> torch.Tensor:
        with _widened(self.model, _HIGHER_PRECISION[self.model.dtype]):
            return super().extend(tokens, rows)


@contextlib.contextmanager
def _widened(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let each module of ``model`` have its own weights in ``dtype`` while it runs."""
    narrow: dict[nn.Module, dict[str, nn.Parameter | None]] = {}

    def widen(module: nn.Module, inputs: Any) -> None:
        narrow[module] = dict(module._parameters)
        for name, weights in narrow[module].items():
            if weights is not None:
                module._parameters[name] = nn.Parameter(weights.to(dtype), requires_grad=False)

    def restore(module: nn.Module, inputs: Any, output: Any) -> None:
        module._parameters.update(narrow.pop(module))

    hooks = []
    for module in model.modules():
        if module._parameters:
            hooks.append(module.register_forward_pre_hook(widen))
            hooks.append(module.register_forward_hook(restore))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, own in narrow.items():
            module._parameters.update(own)
