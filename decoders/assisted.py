"""transformers' assisted generation: its own speculative decoding with a draft model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig
from transformers.utils import is_sklearn_available

from decoders.draft_length import check_gamma
from decoders.generate import Generate, GenerateSession
from decoders.model.cached_model import CachedModel
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.sampling.temperature import Temperature
from decoders.schedule import Schedule, Sequential
from decoders.session import Session

#: How the draft length changes, and what transformers calls that.
_SCHEDULES = {
    "constant": "constant",
    "heuristic": "heuristic_transient",
    "confidence": "constant",
}


@dataclass
class Assisted(Generate):
    """``generate`` with ``assistant_model``: draft, verify, add a token of the target's own.

    Parameters
    ----------
    schedule
        ``constant``: ``gamma`` tokens a round. ``heuristic``: two more after a round in which all
        were accepted, one less after any other; each prompt starts at ``gamma``, so that its rounds
        do not depend on the prompts before it (transformers' ``heuristic_transient``).
        ``confidence``: draft until the draft model gives its own token less than a threshold (the
        library's default, 0.4), at most ``gamma`` tokens. Where scikit-learn is installed, and only
        there, the library moves the threshold as a prompt goes on.
    gamma
        Draft length, as ``schedule`` says; the default is the library's.
    """

    uses_draft = True
    idea = "transformers' own speculative decoding: the models take turns"

    schedule: str = "confidence"
    gamma: int = 20

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        if self.schedule not in _SCHEDULES:
            raise ValueError(
                f"decoder.schedule is one of {', '.join(_SCHEDULES)}, got {self.schedule!r}"
            )

    def simulated_as(self) -> Schedule | None:
        # How far the draft model goes by its confidence no acceptance rate says.
        if self.schedule == "confidence":
            return None
        return Sequential(self.gamma, library=True, heuristic=self.schedule == "heuristic")

    def check(self, sampler: Sampler) -> None:
        super().check(sampler)
        if not isinstance(sampler, Temperature):
            return
        for name in ("temperature", "top_k", "top_p"):
            if getattr(sampler, f"draft_{name}") not in (None, getattr(sampler, name)):
                raise ValueError(
                    f"sampling.draft_{name}: transformers warps the draft model's distribution as"
                    " the target's; leave it null, or take another decoder"
                )

    def start(self, models: Models, sampler: Sampler) -> Session:
        self.check(sampler)
        return AssistedSession(self, models, sampler)


class AssistedSession(GenerateSession):
    """Holds the draft model in this process, as the library's assistant, and the draft length."""

    decoder: Assisted
    draft: CachedModel

    def load(self, models: Models) -> None:
        self.gamma = self.decoder.gamma
        self.draft = models.load_draft()
        # transformers takes models for strangers whose vocabularies differ in size, if only by
        # padding; here they share a tokenizer, and `generate` sees to the rest.
        self.draft.model.config.get_text_config().vocab_size = (
            self.target.model.config.get_text_config().vocab_size
        )
        # It warns about a call of its own.
        logging.getLogger("transformers.generation.utils").setLevel(logging.ERROR)

    def settings(self) -> dict[str, Any]:
        settings = super().settings()
        if self.decoder.schedule == "confidence":
            settings["moves_threshold"] = is_sklearn_available()
        return settings

    def arguments(self) -> dict[str, Any]:
        # Where transformers reads these from. A threshold that is unset becomes its default.
        self.draft.model.generation_config = GenerationConfig(
            num_assistant_tokens=self.gamma,
            num_assistant_tokens_schedule=_SCHEDULES[self.decoder.schedule],
            assistant_confidence_threshold=None if self.decoder.schedule == "confidence" else 0.0,
        )
        return {"assistant_model": self.draft.model}
