"""Which decoder is predicted to be the fastest, over speed ratio, acceptance and draft width."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from pearl_eval.simulation import (
    AHEAD,
    Adaptive,
    Ahead,
    Alone,
    Branching,
    ForwardTimes,
    Parallel,
    Rate,
    Replicas,
    Schedule,
    Sequential,
    Simulation,
    Surface,
)
from pearl_eval.simulation.acceptance import TAIL

Speeds = NDArray[np.float64]

_FILE = Path(__file__).with_name("contenders.yaml")
#: What decoders are called, by the kind of their schedule.
NAMES: dict[str, str] = cast(dict[str, str], OmegaConf.to_container(OmegaConf.load(_FILE)))
#: What all are compared with, and the decoder whose best settings are told.
REFERENCE, SSD = NAMES[Alone.__name__], NAMES[Branching.__name__]
#: Draft lengths that are tried: of vanilla speculative decoding up to the one, of ssd to the other.
_LONGEST, _LONGEST_PREPARED = 20, 12
_FAN_OUTS = (1, 2, 3, 4)
#: Tokens of a text. A prompt is of one, so that only what is generated counts.
TEXT = 256


def contenders(speed_ratio: float) -> dict[str, Sequence[Schedule]]:
    """Each decoder with the settings that are tried of it where a target forward takes so long."""
    # Longer drafts than that are not ready in time.
    lengths = range(1, math.ceil(speed_ratio) + 2)
    prepared = [gamma for gamma in lengths if gamma <= _LONGEST_PREPARED]
    settings: tuple[Sequence[Schedule], ...] = (
        [Alone()],
        [Sequential(gamma) for gamma in range(1, _LONGEST + 1)],
        [Parallel(gamma) for gamma in lengths],
        [Ahead(AHEAD)],
        [Adaptive(AHEAD, branches=True)],
        [Branching(gamma, fan_out) for gamma, fan_out in product(prepared, _FAN_OUTS)],
    )
    return {NAMES[type(own[0]).__name__]: own for own in settings}


def replicated(speed_ratio: float, replicas: int) -> Sequence[Schedule]:
    """Distributed speculative inference, with the draft lengths that are tried of it."""
    return [Replicas(gamma, replicas) for gamma in range(1, math.ceil(speed_ratio) + 1)]


@dataclass(frozen=True)
class Preparation:
    """What decides about ssd, and pearl_adaptive, beside c and α.

    ``cost``: by what share of its time each further token that a draft forward reads makes it
    longer. ``tail``: how soon the places of the target's tokens among the draft model's choices
    thin out, as of :class:`~pearl_eval.simulation.acceptance.Rate`.
    """

    cost: float = 0.0
    tail: float = TAIL


@dataclass(frozen=True)
class MapPoint:
    """What decides: c, α, and what there is to say of wide draft forwards."""

    speed_ratio: float
    rate: float
    branches: Preparation = Preparation()

    def speedup(self, schedule: Schedule, tokens: int) -> float:
        """How many times as fast as the target alone a decoder is predicted to be. Nothing but
        forwards takes time, and the target's take as long whatever they read."""
        widths = {(window, 0): 1 + self.branches.cost * (window - 1) for window in (1, 2)}
        times = ForwardTimes(Surface.constant(self.speed_ratio), Surface.of(widths))
        texts = Rate(self.rate, tail=self.branches.tail)
        simulation = Simulation(schedule, times, texts, max_new_tokens=TEXT, prompts=[1])
        return simulation.run(tokens).tokens_per_second * self.speed_ratio


@dataclass(frozen=True)
class Chosen:
    """A decoder at the best of its settings."""

    schedule: Schedule
    speedup: float


@dataclass(frozen=True)
class Effort:
    """Tokens that are simulated to choose among settings, and of the one that was chosen."""

    choosing: int = 2 * TEXT
    chosen: int = 16 * TEXT

    def best(self, place: MapPoint, settings: Sequence[Schedule]) -> Chosen:
        """The best of settings at a place. All are simulated on the same texts."""
        best = settings[0]
        if len(settings) > 1:
            best = max(settings, key=lambda one: place.speedup(one, self.choosing))
        return Chosen(best, place.speedup(best, self.chosen))


def predict_point(place: MapPoint, effort: Effort) -> dict[str, Chosen]:
    """Every decoder at its best."""
    settings = contenders(place.speed_ratio)
    return {name: effort.best(place, own) for name, own in settings.items()}


@dataclass(frozen=True)
class Winners:
    """Speedups by decoder, ``[c, α]``, all of them predicted.

    ``wide`` has those of decoders whose draft models read several continuations at once,
    ``narrow`` those of the others, which read a token or two of one text. ``replicas`` has those of
    distributed speculative inference, by the number of the target's replicas.
    """

    ratios: tuple[float, ...]
    rates: tuple[float, ...]
    narrow: Mapping[str, Speeds]
    wide: Mapping[Preparation, Mapping[str, Speeds]]
    replicas: Mapping[int, Speeds]

    def of(self, branches: Preparation) -> dict[str, Speeds]:
        """Every decoder's."""
        return {**self.narrow, **self.wide[branches]}

    @classmethod
    def predict(
        cls,
        ratios: Sequence[float],
        rates: Sequence[float],
        branches: Sequence[Preparation],
        replicas: Sequence[int] = (),
        effort: Effort | None = None,
        steps: Callable[[Sequence[tuple[int, ...]]], Iterable[tuple[int, ...]]] = iter,
    ) -> Winners:
        """Simulate each point. ``steps`` goes through them, and may tell how many are done."""
        effort = effort or Effort()
        shape = len(ratios), len(rates)
        narrow, several = (defaultdict[Any, Speeds](lambda: np.empty(shape)) for _ in "12")
        wide = {one: defaultdict[str, Speeds](lambda: np.empty(shape)) for one in branches}
        for row, column in steps(list(np.ndindex(shape))):
            place, at = MapPoint(ratios[row], rates[column]), (row, column)
            for name, settings in contenders(place.speed_ratio).items():
                if any(getattr(one, "draft_widths", ()) for one in settings):
                    for one in branches:
                        there = replace(place, branches=one)
                        wide[one][name][at] = effort.best(there, settings).speedup
                else:
                    narrow[name][at] = effort.best(place, settings).speedup
            for number in replicas:
                settings = replicated(place.speed_ratio, number)
                several[number][at] = effort.best(place, settings).speedup
        return cls(tuple(ratios), tuple(rates), narrow, wide, several)
