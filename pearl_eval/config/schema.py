"""The typed schema of a run's configuration.

``decoder``, ``pair``, ``task`` and ``sampling`` name a dataclass by ``_target_``; its fields are
their schema (:mod:`pearl_eval.config.building`). So a new decoder needs no edit here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import DictConfig

#: More processes or threads than any machine has.
_MOST = 4096
#: Longest time that may be waited for anything, in seconds: what the system's own waits take.
_LONGEST = 1e6


def open_node() -> Any:
    """A part of a configuration whose ``_target_`` says what settings it has.

    Each can be set without a ``+``, whether or not the part's YAML names it.
    """
    return DictConfig({}, flags={"struct": False})


class Protocol(Enum):
    """``standard`` stops at the end of text; ``paper`` ignores it and generates to the limit."""

    standard = "standard"
    paper = "paper"


class Dtype(Enum):
    """Floating-point type that the models compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class ForwardKind(Enum):
    """How forwards are computed.

    ``transformers``: by its own layers. ``fused``: by layers of fewer operations
    (:mod:`decoders.model.fused`). ``cuda_graphs``: by those in fixed shapes, which a GPU records
    and replays (:mod:`decoders.model.cuda_graphs`). ``auto``: ``fused`` on a CPU where the model
    can be, else ``transformers``.
    """

    auto = "auto"
    transformers = "transformers"
    fused = "fused"
    cuda_graphs = "cuda_graphs"


class ReferenceMode(Enum):
    """Where the reference runs come from.

    ``inline``: each is made beside the run under test. ``cached``: they are made once and read by
    every run with the same target, task, sampling, runtime and hardware.
    """

    inline = "inline"
    cached = "cached"


class ReferenceHardware(Enum):
    """What the reference computes on.

    ``own``: the target's devices, the paper's rule. ``all``: it is measured once more on all that
    the decoder under test computes on, and vanilla speculative decoding has all that, too
    (:mod:`pearl_eval.evaluation.hardware`).
    """

    own = "own"
    all = "all"


class TrackingBackend(Enum):
    none = "none"
    wandb = "wandb"


class TrackingMode(Enum):
    online = "online"
    offline = "offline"
    disabled = "disabled"


@dataclass
class RuntimeConfig:
    """How forwards are computed, devices, cores and time limits.

    ``*_device``: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. ``*_cores``: CPU cores a process is
    bound to; null chooses ``*_threads`` free ones for each where both models are on the CPU.
    ``gpus``, ``cores``: those to choose from; null: all there are. ``share_devices``: use them
    also while other runs do; else wait for up to ``devices_timeout``.
    Times are seconds: ``start_timeout`` for another process to load its model, ``answer_timeout``
    to answer, and ``idle_timeout`` for it to be asked anything, after which it ends by itself.
    ``fixed_window``: see :class:`decoders.model.fixed_window.FixedWindowModel`.
    """

    forward: ForwardKind = ForwardKind.auto
    target_device: str = "auto"
    draft_device: str = "auto"
    target_cores: list[int] | None = None
    draft_cores: list[int] | None = None
    target_threads: int = 1
    draft_threads: int = 1
    gpus: list[int] | None = None
    cores: list[int] | None = None
    share_devices: bool = False
    devices_timeout: float = 86400.0
    start_timeout: float = 600.0
    answer_timeout: float = 120.0
    idle_timeout: float = 172_800.0
    spin_seconds: float = 0.005
    fixed_window: bool = False

    def __post_init__(self) -> None:
        for name in ("target_cores", "draft_cores"):
            if getattr(self, name) == []:
                raise ValueError(f"runtime.{name} lists no core: name some, or null for all")
        for name in ("target_threads", "draft_threads"):
            if not 1 <= getattr(self, name) <= _MOST:
                raise ValueError(
                    f"runtime.{name} must be at least 1 and at most {_MOST}, got"
                    f" {getattr(self, name)}"
                )
        for name in ("start_timeout", "answer_timeout", "idle_timeout"):
            _check_seconds(f"runtime.{name}", getattr(self, name), above=True)
        for name in ("spin_seconds", "devices_timeout"):
            _check_seconds(f"runtime.{name}", getattr(self, name))


@dataclass
class ReferenceConfig:
    """The reference run. ``tolerance_factor``: see :mod:`pearl_eval.checks.equivalence`,
    ``hardware``: :class:`ReferenceHardware`.

    ``folder``: where cached references are; null is the sweep's own folder. ``wait_timeout``: how
    long to wait for another run to make them, in seconds.
    """

    mode: ReferenceMode = ReferenceMode.inline
    hardware: ReferenceHardware = ReferenceHardware.own
    folder: str | None = None
    wait_timeout: float = 86_400.0
    tolerance_factor: float = 10.0

    def __post_init__(self) -> None:
        _check_seconds("reference.wait_timeout", self.wait_timeout)
        if not 0 <= self.tolerance_factor < math.inf:
            raise ValueError(
                "reference.tolerance_factor is a multiple of the rounding error and must be at"
                f" least 0, got {self.tolerance_factor}"
            )


@dataclass
class TrackingConfig:
    """Where results are logged beside the files. What is null is left to W&B's own variables.

    Times are seconds, ``table_rows`` and ``worst_prompts`` rows of tables.
    """

    backend: TrackingBackend = TrackingBackend.wandb
    mode: TrackingMode | None = None
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    start_timeout: float = 30.0
    finish_timeout: float = 60.0
    table_rows: int = 10_000
    worst_prompts: int = 20
    system_metrics: bool = False

    def __post_init__(self) -> None:
        for name in ("start_timeout", "finish_timeout"):
            _check_seconds(f"tracking.{name}", getattr(self, name), above=True)
        if not 1 <= self.table_rows <= 10_000:
            raise ValueError(
                f"tracking.table_rows must be from 1 to 10000, got {self.table_rows}:"
                " W&B cuts longer tables"
            )
        if self.worst_prompts < 0:
            raise ValueError(f"tracking.worst_prompts must be at least 0, got {self.worst_prompts}")


@dataclass
class Config:
    """One run: decoder × pair × task × sampling × runtime.

    ``engine`` has arguments of vLLM's engine, for decoders that run in it. ``scale`` has the tasks
    that experiments name, by the paper's names for them.
    """

    decoder: Any = field(default_factory=open_node)
    pair: Any = field(default_factory=open_node)
    task: Any = field(default_factory=open_node)
    sampling: Any = field(default_factory=open_node)
    engine: Any = field(default_factory=open_node)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    scale: dict[str, str] = field(default_factory=dict)
    protocol: Protocol = Protocol.standard
    seed: int = 0


@dataclass(frozen=True)
class Names:
    """What the parts of a run are called: the names of their YAML files."""

    decoder: str
    pair: str
    task: str


def check_seed(name: str, seed: int) -> None:
    """ValueError for a seed that not every random number generator here takes."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"{name} must be from 0 to 2^63 - 1, got {seed}")


def _check_seconds(name: str, value: float, above: bool = False) -> None:
    if not 0 <= value <= _LONGEST or (above and not value):
        least = "more than 0" if above else "at least 0"
        raise ValueError(f"{name} must be {least} and at most {_LONGEST:g} s, got {value:g}")
