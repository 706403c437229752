"""vLLM's own speculation with a draft model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from decoders.draft_length import check_gamma
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.session import Session
from decoders.vllm_alone import Vllm, VllmSession


@dataclass
class VllmSpeculative(Vllm):
    """vLLM's ``method=draft_model``: the draft model runs where the target does, by turns.

    Parameters
    ----------
    gamma
        Draft length, vLLM's ``num_speculative_tokens``.
    """

    uses_draft = True
    idea = "vLLM's draft model: the models take turns"

    gamma: int = 5

    def __post_init__(self) -> None:
        check_gamma(self.gamma)

    @property
    def draft_ends(self) -> int:
        return 1  # within the engine

    def start(self, models: Models, sampler: Sampler) -> Session:
        return VllmSpeculativeSession(self, models, sampler)


class VllmSpeculativeSession(VllmSession):
    """An engine that has both models."""

    decoder: VllmSpeculative

    def speculation(self, models: Models, dtype: str) -> Mapping[str, Any]:
        draft = self._held.enter_context(models.checkpoint("draft"))
        return {
            "method": "draft_model",
            "model": draft.location,
            "revision": draft.revision,
            "num_speculative_tokens": self.decoder.gamma,
        }
