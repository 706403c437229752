"""Forward times of a pair, in a file that ``pearl_eval.simulation`` reads as a ``profile.json``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from decoders.draft_length import time_drafts, time_forwards, time_together
from decoders.model.cached_model import CachedModel
from decoders.process.drafter import Drafter
from gpu_check.card import Card
from gpu_check.rows import rehearsed
from pearl_eval.sizes.model_shapes import ModelShape

#: Tokens before a forward.
CONTEXT = 256
WINDOWS = tuple(range(1, 33))
#: Windows of the target beside which the draft model drafts as many tokens.
TOGETHER = (1, 2, 4, 8, 16)
#: Tokens that the draft model reads at once, as those of many drafts that are drawn together.
BATCHES = (1, 2, 4, 8, 16, 32, 64)
_ROW = 8


def repeats() -> int:
    return 3 if rehearsed() else 9


def timing(model: str, window: int, together: bool, seconds: Sequence[float]) -> dict[str, Any]:
    """Seconds of one kind of forward, as :class:`pearl_eval.profile.profile.Timing` has them."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return {
        "model": model,
        "window": window,
        "context": CONTEXT,
        "together": together,
        "median": middle,
        "quartiles": (low, high),
    }


def measure(target: CachedModel, draft: CachedModel, drafter: Drafter) -> list[dict[str, Any]]:
    """Both models alone, then both at once. ``draft`` is here, ``drafter`` in its own process."""
    count = repeats()
    found = [
        timing("target", window, False, time_forwards(target, window, CONTEXT, count))
        for window in WINDOWS
    ]
    # One token in the process where it drafts, many at once in this one.
    alone = time_drafts(drafter, CONTEXT, count, _ROW)
    found.append(timing("draft", 1, False, alone))
    for batch in BATCHES[1:]:
        seconds = time_forwards(draft, batch, CONTEXT, count)
        found.append(timing("draft", batch, False, seconds))
    beside: list[float] = []
    for window in TOGETHER:
        both, drafting = time_together(target, drafter, window, CONTEXT, count)
        found.append(timing("target", window, True, both))
        beside += drafting
    found.append(timing("draft", 1, True, beside))
    return found


def medians(timings: Sequence[dict[str, Any]], model: str, together: bool) -> dict[int, float]:
    """Median seconds by the number of tokens read."""
    return {
        one["window"]: one["median"]
        for one in timings
        if one["model"] == model and one["together"] is together
    }


def write(
    path: Path,
    pair: str,
    timings: list[dict[str, Any]],
    shapes: dict[str, ModelShape],
    card: Card,
    forward: str,
) -> None:
    """Leave the file: what :class:`pearl_eval.simulation.ForwardTimes` and paper-pairs read."""
    content = {
        "pair": pair,
        "synthetic": True,
        "rehearsed": rehearsed(),
        "forward": forward,
        "bytes_per_value": 4 if rehearsed() else 2,
        "card": asdict(card),
        "shapes": {role: asdict(shape) for role, shape in shapes.items()},
        "timings": timings,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
