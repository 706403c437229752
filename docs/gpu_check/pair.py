"""A pair of real shapes on one card: its forwards, and its decoders, all models on the card."""

from __future__ import annotations

import contextlib
import statistics
import sys
from typing import Any

import torch

from decoders.draft_length import balanced, expected_best, time_forwards
from decoders.model.cached_model import CachedModel
from decoders.process.drafter import Drafter
from decoders.process.models import Models
from decoders.sampling.sampler import Greedy
from gpu_check import forwards
from gpu_check.card import Card, device, free
from gpu_check.decoding import by_turns, tell_speeds
from gpu_check.rows import folder, rehearsed, tell
from gpu_check.setups import PAIRS, ShapedPair, prompts_of
from pearl_eval.config.schema import ForwardKind
from pearl_eval.machine.placement import placed
from pearl_eval.sizes.model_size import ModelSize

#: Share of what a large read alone reaches that decoding token by token is to reach.
_GOAL = 0.75
_KINDS = (ForwardKind.transformers, ForwardKind.fused, ForwardKind.cuda_graphs)
#: The acceptance rate that a draft length of speculative decoding is chosen for.
_RATE = 0.8


def main(name: str) -> None:
    pair = PAIRS[name]
    card = Card.measured()
    tell("a large read alone", f"{card.bandwidth / 1e9:.0f} GB/s")
    kind = quickest(pair, card)
    setup = pair.setup(kind)
    with placed(setup.processes.target):
        target = setup.load_target()
        models = setup.models(target)
        timings = _forwards(target, models)
        path = folder() / f"forwards_{name}.json"
        forwards.write(path, name, timings, pair.shapes(), card, kind.value)
        speculative, pearl = _draft_lengths(timings)
        tokens = 24 if rehearsed() else 96
        tell_speeds(by_turns(setup, models, prompts_of(setup, 3), tokens, speculative, pearl))
        if device().type == "cuda":
            peak = torch.cuda.max_memory_allocated() / 2**30
            tell("memory of the target's process", f"{peak:.1f} GiB at its peak")
        # Last: what has been profiled may be slower afterwards.
        print_operations(target)


def print_operations(target: CachedModel) -> None:
    """Where the time of a token goes, operation by operation: in the log, not in the table."""
    text = [1] * (forwards.CONTEXT + 1)
    target.rollback(0)
    target.extend(text, rows=1)
    with torch.profiler.profile() as profiler:
        for _ in range(3):
            target.rollback(forwards.CONTEXT)
            target.extend(text, rows=1).argmax(dim=-1).tolist()
    column = "self_cpu_time_total" if rehearsed() else "self_device_time_total"
    print(profiler.key_averages().table(sort_by=column, row_limit=20, max_name_column_width=80))


def quickest(pair: ShapedPair, card: Card) -> ForwardKind:
    """How the target decodes a token quickest, of what works; a row for each way."""
    size = ModelSize.of_shape(pair.shapes()["target"])
    found: dict[ForwardKind, float] = {}
    for kind in _KINDS:
        try:
            seconds, itemsize, own = _token(pair, kind)
        except Exception as error:  # told of: another way may work
            tell(f"a token, {kind.value}", "failed", f"{type(error).__name__}: {error}"[:200])
            continue
        finally:
            free()
        found[kind] = seconds
        read = size.values_read(1, forwards.CONTEXT) * itemsize
        note = f"{read / 1e9:.2f} GB read, {read / seconds / card.bandwidth:.2f} of a large read's"
        tell(f"a token, {kind.value}", f"{1e3 * seconds:.2f} ms", f"{note}; goal {_GOAL}{own}")
    if not found:
        raise RuntimeError("no kind of forward works")
    return min(found, key=lambda kind: found[kind])


def _token(pair: ShapedPair, kind: ForwardKind) -> tuple[float, int, str]:
    """Seconds of a forward of one token, the bytes of a value, and what the card's clock says."""
    setup = pair.setup(kind)
    with placed(setup.processes.target):
        target = setup.load_target()
        seconds = time_forwards(target, 1, forwards.CONTEXT, 2 * forwards.repeats())
        return statistics.median(seconds), target.model.dtype.itemsize, own_clock(target)


def own_clock(target: CachedModel) -> str:
    """The same forward by the card's own clock, which ours must not be ahead of."""
    if device().type != "cuda":
        return ""
    text = [1] * (forwards.CONTEXT + 1)
    target.rollback(0)
    target.extend(text[:-1], rows=1).argmax(dim=-1).tolist()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    target.extend(text, rows=1).argmax(dim=-1)
    end.record()
    end.synchronize()
    return f"; once by the card's own clock: {begin.elapsed_time(end):.2f} ms"


def _forwards(target: CachedModel, models: Models) -> list[dict[str, Any]]:
    drafter = Drafter(models.load_draft, Greedy(), models.draft_process)
    with contextlib.closing(drafter):
        draft = models.load_draft()
        drafter.wait_ready()
        timings = forwards.measure(target, draft, drafter)
    del draft
    free()
    alone = forwards.medians(timings, "target", False)
    batches = forwards.medians(timings, "draft", False)
    together = forwards.medians(timings, "target", True)
    drafting = forwards.medians(timings, "draft", True)[1]
    tell("target, by tokens read", _milliseconds(alone, (1, 2, 4, 8, 16, 32)))
    tell("draft model, by tokens read", _milliseconds(batches, forwards.BATCHES))
    tell("target while the draft model drafts", _milliseconds(together, forwards.TOGETHER))
    tell("draft model while the target reads", f"{1e3 * drafting:.2f} ms")
    tell(
        "speed ratio",
        f"{alone[1] / batches[1]:.1f} alone, {together[1] / drafting:.1f} both at once",
    )
    return timings


def _milliseconds(seconds: dict[int, float], windows: tuple[int, ...]) -> str:
    return ", ".join(f"{window}: {1e3 * seconds[window]:.2f}" for window in windows) + " ms"


def _draft_lengths(timings: list[dict[str, Any]]) -> tuple[int, int]:
    """Those of speculative decoding and of PEARL that suit these forwards."""
    alone = forwards.medians(timings, "target", False)
    draft = forwards.medians(timings, "draft", False)[1]
    speculative = expected_best(draft, alone, _RATE)
    both = forwards.medians(timings, "target", True)
    pearl = balanced(forwards.medians(timings, "draft", True)[1], both)
    tell("draft lengths", f"speculative {speculative}, PEARL {pearl}", f"α = {_RATE}")
    return speculative, pearl


if __name__ == "__main__":
    main(sys.argv[1])
