"""What is known of speeds, and how: given, measured, or derived from sizes and bandwidth."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from decoders.decoder import Decoder
from pearl_eval.config import Names
from pearl_eval.errors import UserError
from pearl_eval.estimate.config import EstimateConfig
from pearl_eval.model_size import ModelSize
from pearl_eval.records import ROUNDS
from pearl_eval.runs import Run, finished_runs
from pearl_eval.simulation import ForwardTimes, Slowdown, Surface

GIVEN, MEASURED, DERIVED, ASSUMED = "given", "measured", "derived", "assumed"
#: Taken where no acceptance rate is known.
_ACCEPTANCE_RATE = 0.8


@dataclass(frozen=True)
class Known:
    """A figure and where it is from."""

    value: float
    source: str


@dataclass(frozen=True)
class Forward:
    """Forward times of a model and where they are from."""

    surface: Surface
    source: str

    @property
    def seconds(self) -> float:
        """Of one that reads a token, early in a text."""
        return self.surface(1, 0)


@dataclass(frozen=True)
class Speeds:
    """Seconds a token of a decoder, and of the reference beside it, as a run measured them."""

    seconds: float
    reference_seconds: float


class Knowledge:
    """What an estimate goes by, read once.

    What was given counts before what was measured, and a profile's forwards before a run's.
    """

    def __init__(self, config: EstimateConfig) -> None:
        self._config = config
        self._profiles = dict(_read_profile(file) for file in config.files("profile"))
        self._runs: list[Run] = []
        for folder in config.files("runs"):
            self._runs += finished_runs(Path(folder))

    def forward(
        self, role: str, pair: str, size: ModelSize | None, itemsize: int, on_gpu: bool, ranks: int
    ) -> Forward | None:
        """Forward times of a pair's model; ``None`` where not even its size is known.

        ``ranks`` read it together, each its share of every layer.
        """
        given = getattr(self._config, f"{role}_seconds")
        if given is not None:
            return Forward(Surface.constant(given), GIVEN)
        if pair in self._profiles:
            return Forward(getattr(self._profiles[pair], role), MEASURED)
        measured = [s for run in self._of(pair) if (s := _forward_seconds(run, role)) is not None]
        if measured:
            return Forward(Surface.constant(statistics.median(measured)), MEASURED)
        if size is None:
            return None
        # Decoding reads every weight for each forward, and little else.
        bandwidth = self._config.bandwidth if on_gpu else self._config.cpu_bandwidth
        return Forward(Surface.constant(size.multiplied * itemsize / bandwidth / ranks), DERIVED)

    def slowdown(self, pair: str) -> Slowdown:
        """What running at once costs the models of a pair; nothing where it was not profiled."""
        return self._profiles[pair].slowdown if pair in self._profiles else Slowdown()

    def acceptance_rate(self, names: Names) -> Known:
        """Of a pair, on the task if a run of that is known, else on any."""
        given = self._config.acceptance_rate
        if given is not None:
            return Known(given, GIVEN)
        runs = [run for run in self._of(names.pair) if run.summary["acceptance_rate"] is not None]
        runs = [run for run in runs if run.summary["task"] == names.task] or runs
        if runs:
            return Known(statistics.mean(r.summary["acceptance_rate"] for r in runs), MEASURED)
        return Known(_ACCEPTANCE_RATE, ASSUMED)

    def speeds(self, names: Names, decoder: Decoder) -> Speeds | None:
        """Those of a run of the same decoder, pair, task and draft length, if there is one."""
        gamma = getattr(decoder, "gamma", None)
        for run in self._of(names.pair):
            summary = run.summary
            same = (names.decoder, names.task) == (summary["decoder"], summary["task"])
            if not same or summary["decoder_settings"].get("gamma") != gamma:
                continue
            ours, theirs = summary["tokens_per_second"], summary["reference_tokens_per_second"]
            if ours and theirs:
                return Speeds(1 / ours, 1 / theirs)
        return None

    def _of(self, pair: str) -> Sequence[Run]:
        return [run for run in self._runs if run.summary["pair"] == pair]


def _read_profile(file: str) -> tuple[str, ForwardTimes]:
    """A profile's pair, and how long its forwards take."""
    try:
        content: dict[str, Any] = json.loads(Path(file).read_text())
        return content["pair"], ForwardTimes.from_profile(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"estimate.profile={file}: no profile.json of pearl-eval-profile"
            f" ({type(error).__name__}: {error})"
        ) from error


def _forward_seconds(run: Run, role: str) -> float | None:
    """The median forward of a run's model, each of whose rounds has one of the target."""
    rounds = pd.read_parquet(run.directory / ROUNDS, columns=["drafted", f"{role}_seconds"])
    rounds = rounds[rounds[f"{role}_seconds"] > 0]
    forwards = rounds["drafted"] if role == "draft" else 1
    seconds = rounds[f"{role}_seconds"] / forwards
    return float(seconds.median()) if len(seconds) else None
