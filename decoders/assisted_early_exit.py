"""Early exit, as transformers has it: the target's own first layers draft (LayerSkip, 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from transformers import GenerationConfig

from decoders.draft_length import check_gamma
from decoders.generate import Generate, GenerateSession
from decoders.model.architecture import Architecture
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.schedule import Schedule
from decoders.session import Session


@dataclass
class AssistedEarlyExit(Generate):
    """``generate`` with ``assistant_early_exit``: the draft is what the head says of early layers.

    Any target whose layers can be left early is decoded exactly; drafts are good only of one that
    was trained for it, such as LayerSkip's.

    Parameters
    ----------
    gamma
        Draft length.
    exit_layer
        How many layers draft; null is a quarter of the target's.
    """

    drafts_itself = True
    idea = "the target's own first layers draft: no draft model"

    gamma: int = 5
    exit_layer: int | None = None

    def __post_init__(self) -> None:
        check_gamma(self.gamma)
        if self.exit_layer is not None and self.exit_layer < 1:
            raise ValueError(f"decoder.exit_layer must be at least 1 layer, got {self.exit_layer}")

    def simulated_as(self) -> Schedule | None:
        # How long the first layers take, and how often they are right, no pair's figures say.
        return None

    def check_target(self, target: Architecture) -> None:
        if target.no_early_exit:
            raise ValueError(
                f"early exit ends a forward after the first layers, which this target"
                f" ({target.name}) can't: {target.no_early_exit}; take another target, such as a"
                " Llama, or another decoder"
            )
        if target.depth and target.depth <= (self.exit_layer or 1):
            raise ValueError(
                f"decoder.exit_layer={self.exit_layer or 1}: the target has {target.depth} layers,"
                " and fewer than all must draft"
            )

    def start(self, models: Models, sampler: Sampler) -> Session:
        self.check(sampler)
        return AssistedEarlyExitSession(self, models, sampler)


class AssistedEarlyExitSession(GenerateSession):
    """Holds the target alone, the draft length and the number of layers that draft."""

    decoder: AssistedEarlyExit

    def load(self, models: Models) -> None:
        self.gamma = self.decoder.gamma
        model = cast(Any, self.target.model)
        # Where transformers says how many layers run.
        self._config = getattr(model, model.base_model_prefix).config
        self._layers = self._config.num_hidden_layers
        self._exit_layer = self.decoder.exit_layer or max(1, self._layers // 4)

    @property
    def drafting(self) -> bool:
        return bool(self._config.num_hidden_layers < self._layers)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"exit_layer": self._exit_layer}

    def own_settings(self) -> GenerationConfig:
        # The target is its own assistant.
        return GenerationConfig(
            num_assistant_tokens=self.gamma,
            num_assistant_tokens_schedule="constant",
            assistant_confidence_threshold=0.0,
        )

    def arguments(self) -> dict[str, Any]:
        return {"assistant_early_exit": self._exit_layer}
