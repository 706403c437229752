"""Prompt lookup decoding (Saxena, 2023), as transformers has it: drafts without a draft model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from decoders.decoder import Models
from decoders.draft_length import check_gamma
from decoders.generate import Generate
from decoders.sampler import Sampler


@dataclass
class PromptLookup(Generate):
    """``generate`` with ``prompt_lookup_num_tokens``.

    The draft is what followed where the text's last tokens first occurred in it before; where they
    are new, the round is plain decoding.

    Parameters
    ----------
    gamma
        Longest draft, in tokens.
    max_matching_ngram_size
        How many of the last tokens are looked up; if they are not found, one less, down to one.
    """

    gamma: int = 10
    max_matching_ngram_size: int = 2

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        if self.max_matching_ngram_size < 1:
            raise ValueError(
                "decoder.max_matching_ngram_size must be at least 1 token, got"
                f" {self.max_matching_ngram_size}"
            )

    def start(self, models: Models, sampler: Sampler) -> None:
        super().start(models, sampler)
        self.chosen_gamma = self.gamma

    def arguments(self) -> dict[str, Any]:
        return {
            "prompt_lookup_num_tokens": self.chosen_gamma,
            "max_matching_ngram_size": self.max_matching_ngram_size,
        }
