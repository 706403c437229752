"""What ``pearl-eval bench`` measures: the typed schema of ``conf/bench.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pearl_eval.config.schema import RuntimeConfig, open_node

#: What every other contender is compared with, always there.
REFERENCE = "autoregressive"


@dataclass
class GridConfig:
    """Contests on pairs over a grid of speed ratios and acceptance rates.

    ``pair`` has fields ``depth`` and ``perturbation``; each of ``depths`` meets each of
    ``perturbations``. Each contest is on the first ``prompts`` problems that the benchmark has
    drawn of its task, to ``max_new_tokens`` tokens.
    """

    pair: Any = field(default_factory=open_node)
    depths: list[int] = field(default_factory=list)
    perturbations: list[float] = field(default_factory=list)
    decoders: list[str] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    prompts: int = 4
    max_new_tokens: int = 64
    repeats: int = 2


@dataclass
class GrowthConfig:
    """Time per token after ``contexts`` tokens, and memory while a run goes on.

    After each context every decoder generates ``new_tokens`` tokens, ``repeats`` times. Memory is
    that of one ``pearl-eval`` run over ``prompts`` problems.
    """

    pair: Any = field(default_factory=open_node)
    contexts: list[int] = field(default_factory=list)
    decoders: list[str] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    new_tokens: int = 32
    repeats: int = 3
    prompts: int = 40


@dataclass
class BenchConfig:
    """What is measured, on what, how often. Decoders with a draft length run with each of
    ``gammas``.

    ``prompts`` problems are drawn over the whole task, by ``seed``. ``contest``: let the decoders
    compete on ``pair`` and ``task``. ``whole_run``: watch one whole ``pearl-eval`` run.
    ``forward_repeats``: how often each forward is timed alone after each prompt.
    """

    pair: Any = field(default_factory=open_node)
    task: Any = field(default_factory=open_node)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    decoders: list[str] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    prompts: int = 12
    repeats: int = 2
    contest: bool = True
    whole_run: bool = True
    forward_repeats: int = 7
    grid: GridConfig | None = None
    growth: GrowthConfig | None = None
    seed: int = 0
