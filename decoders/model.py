"""One cached-model class over a transformers causal language model."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
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
        Number of token ids that the tokenizer can produce. Logits of padded embeddings beyond it
        are cut off, so that two models with differently padded embeddings of one tokenizer agree
        on what a token is.
    """

    def __init__(self, model: PreTrainedModel, vocab_size: int | None = None) -> None:
        config = model.config.get_text_config()
        self.model = model.eval()
        self.device = model.device
        self.vocab_size = vocab_size or config.vocab_size
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
        unseen = tokens[self.cache.length :]
        if not 1 <= rows <= len(unseen):
            raise ValueError(f"{rows} rows of logits asked of {len(unseen)} unseen tokens")
        ids = torch.tensor([unseen], device=self.device)
        output = self.model(
            input_ids=ids, past_key_values=self.cache, use_cache=True, logits_to_keep=rows
        )
        return output.logits[0, :, : self.vocab_size]

    def in_higher_precision(self) -> CachedModel:
        """A copy of this model that computes in a wider dtype: float32, or float64 for float32."""
        wider = copy.deepcopy(self.model).to(_HIGHER_PRECISION[self.model.dtype])
        return CachedModel(wider, self.vocab_size)

    def synchronize(self) -> None:
        """Wait until the device has finished what was asked of it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
