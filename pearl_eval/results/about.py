"""What a decoder says of itself beside its settings, for files from before it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from pearl_eval.config.paths import asset

#: What computes the target of a decoder that says nothing else.
OWN_ENGINE = "transformers"


def engine_of(summary: Mapping[str, Any]) -> str:
    """What computed the target of a run."""
    # Runs that do not say it are of before there was a choice.
    return str(summary.get("decoder_about", {}).get("engine", OWN_ENGINE))


def about_decoder(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What files of earlier versions do not say of a decoder, by the name of its configuration.

    The same as :meth:`decoders.decoder.Decoder.describe` gives, with no idea.
    """
    known = _known().get(name, {})
    schedule = known.get("schedule")
    if schedule:
        schedule = schedule | {key: settings[key] for key in ("gamma", "ahead") if key in settings}
    nothing = {"idea": "", "engine": OWN_ENGINE, "overlap": "never", "draft_ends": 0}
    return nothing | known | {"schedule": schedule}


@cache
def _known() -> dict[str, Any]:
    content: Any = OmegaConf.to_container(OmegaConf.load(asset("decoders_0.yaml")))
    return dict(content)
