"""How long forwards of a pair take, alone and both at once, and what follows from that."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from decoders.draft_length import (
    balanced,
    expected_best,
    time_drafts,
    time_forwards,
    time_together,
)
from decoders.model.cached_model import CachedModel
from decoders.model.weights import held_bytes
from decoders.process.drafter import Drafter
from pearl_eval.profile.config import ProfileConfig
from pearl_eval.profile.reading import time_reading
from pearl_eval.shell.progress import steps


@dataclass(frozen=True)
class Timing:
    """Seconds of one kind of forward: median and quartiles over its repeats.

    ``model`` is ``draft`` or ``target``; ``together`` whether the other model ran at the same time.
    """

    model: str
    window: int
    context: int
    together: bool
    median: float
    quartiles: tuple[float, float]

    @classmethod
    def of(
        cls, model: str, window: int, context: int, together: bool, seconds: list[float]
    ) -> Timing:
        low, middle, high = statistics.quantiles(seconds, n=4)
        return cls(model, window, context, together, middle, (low, high))


@dataclass(frozen=True)
class Memory:
    """The target's weights: their bytes, those they take in memory, and seconds of reading them.

    ``read_seconds`` is of what a forward of a few tokens must read of them, once, and nothing else;
    None where that is not known.
    """

    weight_bytes: int
    held_bytes: int
    read_seconds: float | None


@dataclass(frozen=True)
class Profile:
    """All timings of a pair, and what follows from them."""

    timings: Sequence[Timing]
    memory: Memory

    def median(self, model: str, window: int, context: int, together: bool) -> float:
        """Median seconds of one kind of forward."""
        key = (model, window, context, together)
        return next(
            t.median for t in self.timings if (t.model, t.window, t.context, t.together) == key
        )

    def contexts(self) -> list[int]:
        return sorted({t.context for t in self.timings})

    def windows(self) -> list[int]:
        return sorted({t.window for t in self.timings if t.model == "target"})

    def speed_ratio(self, context: int, together: bool = False) -> float:
        """c: one target forward of one token over one draft forward."""
        target, draft = (self.median(m, 1, context, together) for m in ("target", "draft"))
        return target / draft

    def window_cost(self, window: int, context: int) -> float:
        """A target forward of so many tokens over one of a single token."""
        return self.median("target", window, context, False) / self._one(context)

    def share_of_reading(self, context: int) -> float | None:
        """How much of a target forward of one token a plain read of its weights takes."""
        seconds = self.memory.read_seconds
        return None if seconds is None else seconds / self._one(context)

    def _one(self, context: int) -> float:
        return self.median("target", 1, context, False)

    def pearl_gamma(self, context: int) -> int:
        """The draft length that balances PEARL's rounds, from forwards timed together."""
        return balanced(self.median("draft", 1, context, True), self._target_seconds(context, True))

    def speculative_gamma(self, context: int, acceptance_rate: float) -> int:
        """The best expected draft length of vanilla speculative decoding."""
        draft = self.median("draft", 1, context, False)
        return expected_best(draft, self._target_seconds(context, False), acceptance_rate)

    def _target_seconds(self, context: int, together: bool) -> dict[int, float]:
        return {w: self.median("target", w, context, together) for w in self.windows()}


def measure(target: CachedModel, drafter: Drafter, config: ProfileConfig) -> Profile:
    """Time all forwards, the kinds interleaved within each window, so that drift hits all alike."""
    timings: list[Timing] = []
    reading: list[float] = []
    grid = [(c, w) for c in config.contexts for w in range(1, config.longest + 1)]
    drafts: dict[int, tuple[list[float], list[float]]] = {c: ([], []) for c in config.contexts}
    for context, window in steps(grid, "timing forwards"):
        alone = time_forwards(target, window, context, config.repeats)
        if window == 1:
            reading.extend(time_reading(target, config.repeats))
        drafts[context][0].extend(time_drafts(drafter, context, config.repeats))
        both, drafting = time_together(target, drafter, window, context, config.repeats)
        drafts[context][1].extend(drafting)
        timings.append(Timing.of("target", window, context, False, alone))
        timings.append(Timing.of("target", window, context, True, both))
    for context, (alone, both) in drafts.items():
        timings.append(Timing.of("draft", 1, context, False, alone))
        timings.append(Timing.of("draft", 1, context, True, both))
    read_seconds = statistics.median(reading) if reading else None
    weights = target.weight_bytes.all, held_bytes(target.model)
    return Profile(timings, Memory(*weights, read_seconds))
