"""What a profile measures: the typed schema of ``conf/profile.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pearl_eval.config.schema import RuntimeConfig, open_node


@dataclass
class ProfileConfig:
    """What is measured: windows of 1 … ``longest`` tokens after each of ``contexts`` tokens."""

    pair: Any = field(default_factory=open_node)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    longest: int = 12
    contexts: list[int] = field(default_factory=lambda: [128, 512])
    repeats: int = 15
    seed: int = 0
