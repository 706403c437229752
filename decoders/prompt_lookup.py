"""Prompt lookup decoding (Saxena, 2023), as transformers has it: drafts without a draft model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch

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
        with _cut_at_limit(cast(Any, self.target.model)):
            super().generate(sequence)

    def arguments(self) -> dict[str, Any]:
        return {
            "prompt_lookup_num_tokens": self.gamma,
            "max_matching_ngram_size": self.decoder.max_matching_ngram_size,
        }


@contextlib.contextmanager
def _cut_at_limit(model: Any) -> Iterator[None]:
    """Keep transformers (5.23) from drafting beyond the longest text, where positions may end.

    It does so where what it found goes on longer than the text may.
    """
    make = model._get_candidate_generator

    def making(**arguments: Any) -> Any:
        generator = make(**arguments)
        look_up = generator.get_candidates

        def get_candidates(ids: torch.Tensor, **options: Any) -> tuple[torch.Tensor, Any]:
            found, logits = look_up(ids, **options)
            # The target adds a token itself.
            return found[:, : max(ids.shape[1], generator.max_length - 1)], logits

        generator.get_candidates = get_candidates
        return generator

    model._get_candidate_generator = making
    try:
        yield
    finally:
        del model._get_candidate_generator
