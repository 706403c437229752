"""What an audit judges, and by what: the typed schema of ``conf/audit.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pearl_eval.config.schema import RuntimeConfig, TrackingConfig, open_node


@dataclass
class AuditConfig:
    """Outputs, and the model that they are held to.

    ``files`` has one file of outputs, or two of the same prompts. ``applied`` says what was applied
    to the scores where rows do not say it, and ``generation_config`` whether the model's own
    defaults count where neither does. ``requests`` is the file of a batch's requests, where its
    responses are audited. ``special_tokens``: whether the tokenizer adds its special tokens to a
    prompt of text; null: as the form of the file has it. ``seed``: of a target that its pair makes
    of a model, as ``pair=controlled`` does.
    """

    files: list[str] = field(default_factory=list)
    pair: Any = field(default_factory=open_node)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    applied: Any = field(default_factory=open_node)
    generation_config: bool = True
    requests: str | None = None
    special_tokens: bool | None = None
    seed: int = 0
