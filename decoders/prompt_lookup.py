"""Prompt lookup decoding (Saxena, 2023), as transformers has it: drafts without a draft model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from decoders.candidates import cut_at_limit
from decoders.draft_length import check_gamma
from decoders.generate import Generate, GenerateSession
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.schedule import Schedule, Sequential
from decoders.sequence import Sequence
from decoders.session import Session


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

    idea = "what followed the same tokens before is the draft: no model drafts"

    gamma: int = 10
    max_matching_ngram_size: int = 2

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        if self.max_matching_ngram_size < 1:
            raise ValueError(
                "decoder.max_matching_ngram_size must be at least 1 token, got"
                f" {self.max_matching_ngram_size}"
            )

    def simulated_as(self) -> Schedule:
        return Sequential(self.gamma, library=True, free=True)

    def start(self, models: Models, sampler: Sampler) -> Session:
        self.check(sampler)
        return PromptLookupSession(self, models, sampler)


class PromptLookupSession(GenerateSession):
    """Holds the target alone, and the longest draft in use."""

    decoder: PromptLookup

    def load(self, models: Models) -> None:
        self.gamma = self.decoder.gamma

    def generate(self, sequence: Sequence) -> None:
        with cut_at_limit(self.target):
            super().generate(sequence)

    def arguments(self) -> dict[str, Any]:
        return {
            "prompt_lookup_num_tokens": self.gamma,
            "max_matching_ngram_size": self.decoder.max_matching_ngram_size,
        }
