"""The generation config that comes with a model: what engines take from it without being told."""

from __future__ import annotations

from transformers import GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME, cached_file

from decoders.process.models import Checkpoint


def read_generation_config(model: Checkpoint) -> GenerationConfig | None:
    """A model's, if it has one. Whatever is thrown over a file that is not ours is let through."""
    revision = model.revision or "main"
    known = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
    if cached_file(model.location, GENERATION_CONFIG_NAME, **known) is None:
        return None
    return GenerationConfig.from_pretrained(model.location, revision=revision)


def end_ids(config: GenerationConfig | None) -> list[int]:
    """The tokens that end a text by such a config; none without one."""
    ids = None if config is None else config.eos_token_id
    return [] if ids is None else list(ids) if isinstance(ids, list) else [ids]
