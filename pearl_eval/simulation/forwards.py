"""How long forwards take, as functions of how many tokens they read and how many came before."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Surface:
    """Seconds of one model's forwards, ``[contexts, windows]``.

    A forward reads ``window`` tokens after ``context`` ones. Between the points both are
    interpolated linearly. Beyond the largest window time grows as it does from the smallest to the
    largest; beyond the contexts at either end it is as there.
    """

    windows: tuple[int, ...]
    contexts: tuple[int, ...]
    seconds: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        rows, columns = len(self.contexts), len(self.windows)
        if not rows or not columns or {len(row) for row in self.seconds} != {columns}:
            raise ValueError(
                f"expected a forward time for each of {columns} windows after each of {rows}"
                f" contexts, got rows of {[len(row) for row in self.seconds]}"
            )
        axes = self.windows, self.contexts
        if len(self.seconds) != rows or any(sorted(set(one)) != list(one) for one in axes):
            raise ValueError(
                f"expected {rows} rows of forward times, and windows and contexts in ascending"
                f" order, each once, got {len(self.seconds)} rows, windows {list(self.windows)} and"
                f" contexts {list(self.contexts)}"
            )
        if (least := min(map(min, self.seconds))) < 0:
            raise ValueError(f"forward times must be at least 0 s, got {least:g}")

    @classmethod
    def constant(cls, seconds: float) -> Surface:
        """The same whatever is read."""
        return cls((1,), (0,), ((seconds,),))

    @classmethod
    def of(cls, points: Mapping[tuple[int, int], float]) -> Surface:
        """From seconds by (window, context), each window after each context."""
        windows, contexts = (tuple(sorted(set(column))) for column in zip(*points, strict=True))
        try:
            rows = tuple(tuple(points[w, c] for w in windows) for c in contexts)
        except KeyError as missing:
            raise ValueError(f"forward times: none for window, context {missing}") from None
        return cls(windows, contexts, rows)

    def column(self, window: int, contexts: Seconds) -> Seconds:
        """Seconds of forwards that read ``window`` tokens after each of ``contexts``."""
        at = [self._at(window, row) for row in self.seconds]
        return np.interp(contexts, self.contexts, at)

    def __call__(self, window: int, context: int) -> float:
        return float(self.column(window, np.array([float(context)]))[0])

    def _at(self, window: int, row: Sequence[float]) -> float:
        first, last = self.windows[0], self.windows[-1]
        if window <= last or first == last:
            return float(np.interp(window, self.windows, row))
        slope = (row[-1] - row[0]) / (last - first)
        return row[-1] + max(0.0, slope) * (window - last)


@dataclass(frozen=True)
class Slowdown:
    """How many times as long forwards take while the other model computes, too."""

    target: float = 1.0
    draft: float = 1.0

    def beside(self, target: float, draft: float) -> tuple[float, float]:
        """Seconds of both sides, begun at once, of which each would take so long alone."""
        slow_target, slow_draft = target * self.target, draft * self.draft
        if slow_target <= slow_draft:
            return slow_target, slow_target + draft - slow_target / self.draft
        return slow_draft + target - slow_draft / self.target, slow_draft


@dataclass(frozen=True)
class Switching:
    """Extra seconds of a round that drafts and then verifies on one device, by tokens drafted.

    Each of the two models finds the caches full of the other's weights. Between the measured
    lengths it is linear, beyond them as at either end; without any it is 0.
    """

    lengths: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()

    def __call__(self, drafted: int) -> float:
        return float(np.interp(drafted, self.lengths, self.seconds)) if self.lengths else 0.0


class ForwardSize(Protocol):
    """What a model's forwards compute and read, as ``pearl_eval.sizes.model_shapes`` has it."""

    @property
    def multiplied(self) -> int: ...
    @property
    def cached(self) -> int: ...
    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def max_position_embeddings(self) -> int: ...


@dataclass(frozen=True)
class Hardware:
    """What forwards are limited by, on each device: a roofline, and the host that feeds it.

    ``bandwidth`` in bytes/s and ``flops`` in operations/s are what is achieved, not the data
    sheet's peak. ``layer_seconds`` is the least a layer takes however small, the host's launching
    of its kernels. ``bytes_per_value``: 2 for bfloat16.
    """

    bandwidth: float
    flops: float
    layer_seconds: float = 0.0
    bytes_per_value: int = 2

    def forward_seconds(
        self, shape: ForwardSize, window: int, context: int, gpus: int = 1
    ) -> float:
        """Seconds of a forward: the longest of reading memory, computing, and launching.

        ``gpus`` compute each layer together (tensor-parallel), at no cost for talking to each
        other. Layers spread over devices in a row (a pipeline) are computed one after the other: to
        one text, that is one device.
        """
        values = shape.multiplied + shape.cached * (context + window)
        reading = values * self.bytes_per_value / self.bandwidth / gpus
        computing = 2 * window * shape.multiplied / self.flops / gpus
        return max(reading, computing, shape.num_hidden_layers * self.layer_seconds)


@dataclass(frozen=True)
class ForwardTimes:
    """Forward times of a pair, each model alone, and what it costs to run at once, or in turn.

    ``branches``: those of the draft model over tokens of several continuations, where they were
    timed by themselves. Without, they take as long as over as many tokens of one text.
    ``choosing``: of the draft model, to choose a token after each further one that it has read, in
    a forward that gives several.
    """

    target: Surface
    draft: Surface
    slowdown: Slowdown = field(default_factory=Slowdown)
    switching: Switching = field(default_factory=Switching)
    branches: Surface | None = None
    choosing: float = 0.0

    @property
    def speed_ratio(self) -> float:
        """c, after the shortest context there is."""
        return self.target(1, 0) / self.draft(1, 0)

    @classmethod
    def constant(cls, speed_ratio: float, draft_seconds: float = 1.0) -> ForwardTimes:
        """A draft forward takes ``draft_seconds``, a target forward c times as long, always."""
        return cls(Surface.constant(speed_ratio * draft_seconds), Surface.constant(draft_seconds))

    @classmethod
    def from_profile(cls, content: Mapping[str, Any]) -> ForwardTimes:
        """From a ``profile.json`` of ``pearl-eval profile``.

        What a row of drafts takes while the target runs, and the other way round, gives the
        slowdown.
        """
        points: dict[tuple[str, bool], dict[tuple[int, int], float]] = {}
        for timing in content["timings"]:
            key = timing["model"], timing["together"]
            place = timing["window"], timing["context"]
            points.setdefault(key, {})[place] = timing["median"]
        target, draft = (Surface.of(points[model, False]) for model in ("target", "draft"))
        beside = [
            (window, seconds, points["draft", True][1, context], context)
            for (window, context), seconds in points["target", True].items()
        ]
        return cls(target, draft, measured_slowdown(target, draft, beside))

    @classmethod
    def from_bench(cls, forwards: Sequence[Mapping[str, Any]]) -> ForwardTimes:
        """From ``forwards`` of a contest in ``bench.json``: medians over its prompts.

        ValueError for a file from before such rounds were timed.
        """
        if not forwards or "sequential" not in forwards[0]:
            raise ValueError(
                "bench.json has no rounds timed sequentially: it is of an older version"
            )

        def median(*path: str | int) -> float:
            found: list[float] = []
            for one in forwards:
                value: Any = one
                for step in path:
                    value = value[step]
                found.append(value)
            return statistics.median(found)

        length = round(median("prompt_length"))
        context = round(median("context"))
        # A window of the prompt's length and beyond is as the prompt's own forward.
        windows, together, read = (
            [w for w in forwards[0].get(kind, ()) if int(w) < length]
            for kind in ("target", "beside", "read")
        )
        seconds = {(int(w), 0): median("target", w) for w in windows}
        target = Surface.of(seconds | {(length, 0): median("prompt", 0)})
        single = {(1, 0): median("draft")}
        # What is read of one text, or of several continuations, was not timed where no contender
        # asked for it, nor before it could be.
        several = {(int(w), 0): median("read", w, 0) for w in read}
        draft = Surface.of(single | several | {(length, 0): median("prompt", 1)})
        choosing = [(median("read", w, 1) - median("read", w, 0)) / (int(w) - 1) for w in read]
        wide = {(int(w), 0): median("wide", w) for w in forwards[0].get("wide", ())}
        branches = Surface.of(single | wide) if wide else None
        beside = [
            (int(w), median("beside", w, 0), median("beside", w, 1), context) for w in together
        ]
        lengths = tuple(int(n) for n in forwards[0]["sequential"])
        alone = [n * draft(1, context) + target(n + 1, context) for n in lengths]
        beyond = tuple(
            median("sequential", str(n)) - a for n, a in zip(lengths, alone, strict=True)
        )
        slowdown = measured_slowdown(target, draft, beside)
        return cls(
            target,
            draft,
            slowdown,
            Switching(lengths, beyond),
            branches,
            max(0.0, statistics.median(choosing)) if choosing else 0.0,
        )

    @classmethod
    def from_shapes(
        cls, target: ForwardSize, draft: ForwardSize, hardware: Hardware, gpus: int = 1
    ) -> ForwardTimes:
        """Of models that are not here, on ``hardware``; ``gpus`` share each layer of the target."""

        def surface(shape: ForwardSize, gpus: int) -> Surface:
            windows = (*range(1, 65), *range(80, 513, 16), 1024, 2048)
            contexts = (0, shape.max_position_embeddings)
            return Surface.of(
                {
                    (window, context): hardware.forward_seconds(shape, window, context, gpus)
                    for window in windows
                    for context in contexts
                }
            )

        return cls(surface(target, gpus), surface(draft, 1))


def measured_slowdown(
    target: Surface, draft: Surface, beside: Sequence[tuple[int, float, float, int]]
) -> Slowdown:
    """What two models cost each other, from forwards timed while both ran.

    ``beside`` has, for each window, the target's seconds and the seconds of each of as many draft
    forwards begun at the same time, and the context. A side that goes on after the other is done
    runs at full speed from there on; medians over the windows.
    """
    targets, drafts = [], []
    for window, target_seconds, draft_seconds, context in beside:
        target_alone, draft_alone = target(window, context), window * draft(1, context)
        drafting = window * draft_seconds
        both = min(target_seconds, drafting)
        # Of the longer side, what it did meanwhile: all but what it did alone afterwards.
        meanwhile = target_alone - (target_seconds - both), draft_alone - (drafting - both)
        if meanwhile[0] > 0.25 * target_alone:
            targets.append(both / meanwhile[0])
        if meanwhile[1] > 0.25 * draft_alone:
            drafts.append(both / meanwhile[1])
    return Slowdown(
        max(1.0, statistics.median(targets)) if targets else 1.0,
        max(1.0, statistics.median(drafts)) if drafts else 1.0,
    )
