"""Multi-token prediction, as transformers has it: the target's own further layers draft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers
from transformers import GenerationConfig, modeling_layers

from decoders.candidates import cut_at_limit, giving
from decoders.generate import Generate, GenerateSession
from decoders.model.architecture import Architecture
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.schedule import Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class AssistedMtp(Generate):
    """``generate`` with ``use_mtp``: a draft has a token of each multi-token-prediction layer.

    Such layers come with the weights of some models (DeepSeek V3, GLM 4.5, Mellum and others):
    they read the target's last hidden states. There is no draft length to set.
    """

    drafts_itself = True
    idea = "the target's multi-token-prediction layers draft: no draft model"

    def simulated_as(self) -> Schedule | None:
        # How long such a layer takes, and how often it is right, no pair's figures say.
        return None

    def check_here(self) -> None:
        if not hasattr(GenerationConfig(), "use_mtp") or not hasattr(modeling_layers, "MtpModel"):
            raise ValueError(
                f"transformers {transformers.__version__} has no multi-token prediction; install"
                " transformers 5.23, or take another decoder"
            )

    def check_target(self, target: Architecture) -> None:
        if not target.mtp_layers:
            raise ValueError(
                f"this target ({target.name}) has no layers for multi-token prediction"
                " (num_mtp_layers in its config); take a target that has them, such as GLM 4.5 or"
                " DeepSeek V3, or another decoder"
            )

    def start(self, models: Models, sampler: Sampler) -> Session:
        self.check(sampler)
        return AssistedMtpSession(self, models, sampler)


class AssistedMtpSession(GenerateSession):
    """Holds the target and its multi-token-prediction layers."""

    decoder: AssistedMtp

    def load(self, models: Models) -> None:
        model = self.target.model
        try:
            self._layers = modeling_layers.MtpModel.from_pretrained(
                model, device_map={"": self.target.device}
            )
        except (OSError, ValueError, RuntimeError, AttributeError) as error:
            raise ValueError(
                "the target's weights for multi-token prediction can't be loaded from"
                f" {model.config.name_or_path or 'nowhere'}: {' '.join(str(error).split())}"
            ) from error

    def generate(self, sequence: Sequence) -> None:
        # transformers (5.23) would read the layers' weights anew for each prompt.
        kind = modeling_layers.MtpModel
        with cut_at_limit(self.target), giving(kind, "from_pretrained", self._layers):
            super().generate(sequence)

    def arguments(self) -> dict[str, Any]:
        return {"use_mtp": True}

    def stop(self) -> None:
        super().stop()
        vars(self).pop("_layers", None)
