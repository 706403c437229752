"""The settings of an estimate: ``estimate.*`` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from pearl_eval.config.building import section

_PREFIX = "estimate."


@dataclass
class EstimateConfig:
    """What is known of speeds, and what is assumed of those that are not.

    Parameters
    ----------
    acceptance_rate
        The chance that a drafted token is accepted, of every pair; null takes it from ``runs``,
        else 0.8.
    target_seconds, draft_seconds
        Seconds of a forward of each model, of every pair.
    profile
        ``profile.json`` of ``pearl-eval profile``, or a list of them: forward times of their pairs.
    runs
        Directory of a finished run or sweep, or a list of them: measured speeds, acceptance rates
        and forward times.
    bandwidth
        Bytes a second that a forward reads weights at, of models of which no time is known. The
        default is what the paper's authors report for Llama 3.1 8B & 70B on MT-bench: 32.14
        tokens/s and 3.59× make 8.95 tokens/s of autoregressive decoding, each of which reads 139
        GB. (The A100's memory has 2.04e12.)
    cpu_bandwidth
        The same for pairs that need no GPU: about what one core reads.
    load_bandwidth
        Bytes a second that weights are loaded at.
    gpu_memory
        GiB of one GPU; jobs that need more are marked.
    """

    acceptance_rate: float | None = None
    target_seconds: float | None = None
    draft_seconds: float | None = None
    profile: Any = None
    runs: Any = None
    bandwidth: float = 1.25e12
    cpu_bandwidth: float = 1e10
    load_bandwidth: float = 1e9
    gpu_memory: float = 80.0

    def __post_init__(self) -> None:
        rate = self.acceptance_rate
        if rate is not None and not 0.0 <= rate <= 1.0:
            raise ValueError(f"estimate.acceptance_rate is a probability, from 0 to 1, got {rate}")
        for name in (
            "target_seconds",
            "draft_seconds",
            "bandwidth",
            "cpu_bandwidth",
            "load_bandwidth",
            "gpu_memory",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"estimate.{name} must be more than 0, got {value}")

    @classmethod
    def split(cls, arguments: Sequence[str]) -> tuple[EstimateConfig, list[str]]:
        """The settings among the arguments of a command line, and the other arguments."""
        own = [one.removeprefix(_PREFIX) for one in arguments if one.startswith(_PREFIX)]
        rest = [one for one in arguments if not one.startswith(_PREFIX)]
        return section("estimate", cls, OmegaConf.from_dotlist(own)), rest

    def files(self, name: str) -> list[str]:
        """``profile`` or ``runs`` as a list, whichever way it was given."""
        value = getattr(self, name)
        if value is None:
            return []
        return [str(one) for one in value] if isinstance(value, list) else [str(value)]
