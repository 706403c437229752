"""vLLM's ways to speculate that need no draft model of the pair's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.session import Session
from decoders.vllm_alone import Vllm, VllmSession


@dataclass
class VllmMethod(Vllm):
    """vLLM speculates as its ``speculative_config`` says.

    With a look-up in the text (``method: ngram``, ``suffix``), or by heads that were trained for
    the target (``eagle3``, ``medusa``, ``mtp``), which ``model`` names.

    Parameters
    ----------
    speculative_config
        vLLM's own, by its own names.
    """

    idea = "a method of vLLM's own: no draft model of the pair's"

    speculative_config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.speculative_config.get("method"):
            raise ValueError(
                "decoder.speculative_config needs a method, such as ngram, suffix or eagle3"
            )

    def start(self, models: Models, sampler: Sampler) -> Session:
        return VllmMethodSession(self, models, sampler)


class VllmMethodSession(VllmSession):
    """An engine that has the target, and what the method brings."""

    decoder: VllmMethod

    def speculation(self, models: Models, dtype: str) -> Mapping[str, Any]:
        return self.decoder.speculative_config
