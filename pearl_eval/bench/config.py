"""The typed schema of ``conf/bench.yaml``: what a benchmark measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pearl_eval.config.schema import Protocol, RuntimeConfig, open_node


@dataclass
class Contestants:
    """Decoders, each with every one of ``gammas`` if its YAML has a draft length (``gamma``).

    ``rivals``: what each decoder is compared with beside the reference, as lists of decoders by
    what they are called together; the fastest of a list counts.
    """

    pair: Any = field(default_factory=open_node)
    decoders: list[str] = field(default_factory=list)
    gammas: list[int] = field(default_factory=list)
    rivals: dict[str, list[str]] = field(default_factory=dict)
    repeats: int = 2


@dataclass
class GridConfig(Contestants):
    """Contests on pairs over a grid of speed ratios and acceptance rates.

    ``pair`` has fields ``depth`` and ``perturbation``; each of ``depths`` meets each of
    ``perturbations``. Each pair decodes the first ``prompts`` problems that the benchmark has
    drawn of its task, to ``max_new_tokens`` tokens.
    """

    depths: list[int] = field(default_factory=list)
    perturbations: list[float] = field(default_factory=list)
    prompts: int = 4
    max_new_tokens: int = 64


@dataclass
class GrowthConfig(Contestants):
    """Time per token after ``contexts`` tokens: after each, ``new_tokens`` tokens are generated."""

    contexts: list[int] = field(default_factory=list)
    new_tokens: int = 32
    repeats: int = 3


@dataclass
class ConcurrencyConfig(Contestants):
    """Several requests at once, for decoders that take several: speeds and latencies.

    Each number of ``requests`` in turn, ``repeats`` times, over ``prompts`` of the benchmark's
    problems, to ``max_new_tokens`` tokens. The first of the decoders is what the others' outputs
    are held to.
    """

    requests: list[int] = field(default_factory=list)
    prompts: int = 8
    max_new_tokens: int = 128
    repeats: int = 3


@dataclass
class BenchConfig(Contestants):
    """What a benchmark measures, on what, and how often.

    ``prompts`` problems are drawn over the whole task, by ``seed``. ``contest``: let the decoders
    compete on ``pair`` and ``task``. ``forward_repeats``: how often each forward is timed alone
    after each prompt.
    """

    task: Any = field(default_factory=open_node)
    sampling: Any = field(default_factory=open_node)
    engine: Any = field(default_factory=open_node)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    protocol: Protocol = Protocol.paper
    prompts: int = 12
    contest: bool = True
    forward_repeats: int = 7
    grid: GridConfig | None = None
    growth: GrowthConfig | None = None
    concurrency: ConcurrencyConfig | None = None
    seed: int = 0
