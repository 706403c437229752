"""When the tokens of a prompt came: the first one, each on average, and the gaps in between.

A user sees tokens at the end of the round that verified them, those of one round at once. Names and
definitions are those of vLLM's benchmark: see docs/measures.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from decoders.round import Round
from pearl_eval.results.records import PERCENTILES


@dataclass(frozen=True)
class Latency:
    """When the tokens of one prompt came. Times are seconds.

    ``ttft_seconds`` is from the start to the first token; ``tpot_seconds`` from the first to the
    last, by each token after the first, ``None`` where there is but one. ``gaps`` are between the
    rounds that gave tokens: one fewer than there are of these, however many tokens each gave.
    """

    ttft_seconds: float | None
    tpot_seconds: float | None
    gaps: tuple[float, ...]

    @classmethod
    def of(cls, ends: Sequence[float], lengths: Sequence[int]) -> Latency:
        """Of the ends of a prompt's rounds, and how many tokens were there at each."""
        steps = zip(ends, lengths, (0, *lengths), strict=False)
        times = [end for end, now, before in steps if now > before]
        if not times or any(map(math.isnan, times)):
            return cls(None, None, ())
        after = lengths[-1] - 1
        return cls(
            times[0],
            (times[-1] - times[0]) / after if after else None,
            tuple(later - sooner for sooner, later in pairwise(times)),
        )

    def figures(self) -> dict[str, Any]:
        """As a record has them, by its names."""
        own = {"ttft_seconds": self.ttft_seconds, "tpot_seconds": self.tpot_seconds}
        return own | percentiles("itl_seconds", self.gaps)

    @classmethod
    def of_rounds(cls, rounds: Sequence[Round], seconds: float) -> Latency:
        """Of a prompt's rounds, each of which lasts to the next; the last to the prompt's end.

        A round that says itself when its tokens were there is believed.
        """
        nexts = [*(one.start for one in rounds[1:]), seconds]
        ends = [one.end or start for one, start in zip(rounds, nexts, strict=False)]
        return cls.of(ends, [one.verified_length for one in rounds])


def percentiles(name: str, values: Iterable[float]) -> dict[str, float | None]:
    """The percentiles of some times as ``NAME_p50`` …; ``None`` where there are no times."""
    known = list(values)
    found = np.percentile(known, PERCENTILES).tolist() if known else [None] * len(PERCENTILES)
    return {f"{name}_p{which}": one for which, one in zip(PERCENTILES, found, strict=True)}
