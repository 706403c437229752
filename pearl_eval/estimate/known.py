"""What is known of speeds, and how: given, measured, or derived from sizes and bandwidth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from decoders.decoder import Decoder
from pearl_eval.config.schema import Names
from pearl_eval.errors import UserError
from pearl_eval.estimate.config import EstimateConfig
from pearl_eval.results.about import OWN_ENGINE, engine_of
from pearl_eval.results.records import read_json, read_run
from pearl_eval.results.runs import Run, finished_runs
from pearl_eval.results.traces import read_rounds
from pearl_eval.simulation import ForwardTimes, Slowdown, Surface
from pearl_eval.sizes.model_size import ModelSize

GIVEN, MEASURED, DERIVED, ASSUMED = "given", "measured", "derived", "assumed"
#: Taken where no acceptance rate is known.
_ACCEPTANCE_RATE = 0.8


@dataclass(frozen=True)
class Known:
    """A figure and where it is from."""

    value: float
    source: str


@dataclass(frozen=True)
class KnownForward:
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


@dataclass(frozen=True)
class PairTimes:
    """Forward times of a pair, in this project's own engine, whose target has so many ranks."""

    pair: str
    ranks: int
    times: ForwardTimes


class Knowledge:
    """The speeds and acceptance rates that estimates are made from, read once.

    What was given counts before what was measured, and a profile's forwards before a run's. What
    was measured of a target counts for one in the same engine and of as many ranks only.
    """

    def __init__(self, config: EstimateConfig) -> None:
        self._config = config
        self._profiles = [_read_profile(file) for file in config.files("profile")]
        self._runs: list[Run] = []
        for folder in config.files("runs"):
            self._runs += finished_runs(Path(folder))

    def forward(
        self,
        role: str,
        pair: str,
        decoder: Decoder,
        size: ModelSize | None,
        itemsize: int,
        on_gpu: bool,
    ) -> KnownForward | None:
        """Forward times of a model of a pair's, as a decoder runs it.

        ``None`` where not even its size is known.
        """
        given = getattr(self._config, f"{role}_seconds")
        if given is not None:
            return KnownForward(Surface.constant(given), GIVEN)
        is_target = role == "target"
        profile = self._profile(pair, decoder if is_target else None)
        if profile:
            return KnownForward(getattr(profile.times, role), MEASURED)
        runs = self._of(pair, decoder if is_target else None)
        measured = [s for run in runs if (s := _forward_seconds(run, role)) is not None]
        if measured:
            return KnownForward(Surface.constant(statistics.median(measured)), MEASURED)
        if size is None:
            return None
        # Decoding reads every weight for each forward, and little else.
        bandwidth = self._config.bandwidth if on_gpu else self._config.cpu_bandwidth
        own = size.multiplied / (decoder.ranks if is_target else 1)
        return KnownForward(Surface.constant(own * itemsize / bandwidth), DERIVED)

    def slowdown(self, pair: str, decoder: Decoder) -> Slowdown:
        """What running at once costs the models of a pair; nothing where it was not profiled."""
        profile = self._profile(pair, decoder)
        return profile.times.slowdown if profile else Slowdown()

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
        """Those of a run of the same pair and task, and of the same decoder as it was asked for."""
        for run in self._of(names.pair, decoder):
            summary = run.summary
            same = (names.decoder, names.task) == (summary["decoder"], summary["task"])
            # There a decoder with both models in one process has more than it usually has.
            equal = (summary["devices"] or {}).get("rule") == "all"
            if not same or equal or not _asked_for(run, decoder):
                continue
            ours, theirs = summary["tokens_per_second"], summary["reference_tokens_per_second"]
            if ours and theirs:
                return Speeds(1 / ours, 1 / theirs)
        return None

    def _of(self, pair: str, decoder: Decoder | None = None) -> Sequence[Run]:
        """Runs of a pair; where ``decoder`` is given, whose target was computed as that has it."""
        runs = [run for run in self._runs if run.summary["pair"] == pair]
        if decoder is None:
            return runs
        wanted = (decoder.engine, decoder.ranks)
        return [run for run in runs if (engine_of(run.summary), _ranks(run.summary)) == wanted]

    def _profile(self, pair: str, decoder: Decoder | None) -> PairTimes | None:
        profiles = [one for one in self._profiles if one.pair == pair]
        if decoder is not None:
            wanted = (decoder.engine, decoder.ranks)
            profiles = [one for one in profiles if (OWN_ENGINE, one.ranks) == wanted]
        return profiles[-1] if profiles else None


def _ranks(content: dict[str, Any]) -> int:
    """In how many ranks the target was of which a file tells."""
    parallel = content["environment"].get("target_parallel") or {}
    return int(parallel.get("ranks", 1))


def _read_profile(file: str) -> PairTimes:
    try:
        content = read_json(Path(file))
        return PairTimes(content["pair"], _ranks(content), ForwardTimes.from_profile(content))
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"estimate.profile={file}: expected a profile.json of pearl-eval profile"
            f" ({type(error).__name__}: {error})"
        ) from error


def _forward_seconds(run: Run, role: str) -> float | None:
    """The median forward of a run's model, each of whose rounds has one of the target."""
    rounds = read_rounds(run.directory, ["drafted", f"{role}_seconds"])
    rounds = rounds[rounds[f"{role}_seconds"] > 0]
    forwards = rounds["drafted"] if role == "draft" else 1
    seconds = rounds[f"{role}_seconds"] / forwards
    return float(seconds.median()) if len(seconds) else None


def _asked_for(run: Run, decoder: Decoder) -> bool:
    """Whether a run's decoder was asked for with these settings: its own may be chosen since."""
    about = read_run(run.directory)
    kind: Any = decoder
    return about is not None and all(
        about["identity"].get(f"decoder.{one.name}", one.default) == getattr(decoder, one.name)
        for one in fields(kind)
        if one.init
    )
