"""Profiling a pair: measured, printed, written."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from decoders.process.drafter import Drafter
from decoders.sampling.sampler import Greedy
from pearl_eval.config.building import section
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.evaluation.reservation import reserve
from pearl_eval.machine import environment
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.pair import Pair
from pearl_eval.pairs.setup import Setup
from pearl_eval.profile.config import ProfileConfig
from pearl_eval.profile.plot import draw_profile
from pearl_eval.profile.profile import Profile, measure
from pearl_eval.shell.console import console

_RATES = (0.6, 0.7, 0.8, 0.9, 0.95)
#: Windows of which it is said what they cost beside a single token.
_WINDOWS = (2, 4, 8)


def print_profile(profile: Profile, peak_memory: int) -> None:
    """Tables and conclusions, on standard output."""
    out = console(stderr=False)
    for context in profile.contexts():
        table = Table(title=f"{context} tokens of context, milliseconds", title_justify="left")
        for heading in ("forward", "alone", "both at once", "slowdown"):
            table.add_column(heading, justify="left" if heading == "forward" else "right")
        rows = [("draft", 1), *(("target", window) for window in profile.windows())]
        for model, window in rows:
            alone, both = (profile.median(model, window, context, t) for t in (False, True))
            label = f"{model}, {window} token{'s' if window > 1 else ''}"
            table.add_row(label, f"{1e3 * alone:.2f}", f"{1e3 * both:.2f}", f"{both / alone:.2f}×")
        out.print(table)
        out.print(f"target's forwards beside its forward of one token: {_costs(profile, context)}")
        share = profile.share_of_reading(context)
        if share is not None:
            out.print(f"a plain read of the target's weights takes {share:.2f} of the latter")
        out.print(
            f"speed ratio c: {profile.speed_ratio(context):.2f} alone,"
            f" {profile.speed_ratio(context, together=True):.2f} both at once"
        )
        out.print(f"PEARL, γ that balances draft and target: {profile.pearl_gamma(context)}")
        gammas = ", ".join(f"{profile.speculative_gamma(context, a)} at α = {a}" for a in _RATES)
        out.print(f"vanilla speculative decoding, best expected γ: {gammas}\n")
    memory = profile.memory
    out.print(
        f"target's weights: {memory.weight_bytes / 2**20:.0f} MiB,"
        f" in memory {memory.held_bytes / memory.weight_bytes:.2f}× that"
    )
    out.print(f"peak memory: {peak_memory / 2**20:.0f} MiB, both processes")


def _costs(profile: Profile, context: int) -> str:
    windows = [window for window in _WINDOWS if window in profile.windows()]
    return ", ".join(f"{w} tokens {profile.window_cost(w, context):.2f}×" for w in windows)


def profile_pair(config: ProfileConfig, name: str, directory: Path) -> None:
    """Measure a pair, print its profile, and leave ``profile.json`` and a plot of it."""
    runtime = section("runtime", RuntimeConfig, config.runtime)
    setup = Setup.make(config.pair, runtime, uses_draft=True)
    _check(config, setup.pair)
    environment.reset_peak_memory()
    with reserve(setup) as setup:
        profile, memory = _timed(setup, config)
    print_profile(profile, memory)
    content = {
        "pair": name,
        "timings": [asdict(timing) for timing in profile.timings],
        "memory": asdict(profile.memory),
        "peak_memory_bytes": memory,
        "synthetic": setup.pair.synthetic,
        "environment": setup.describe(),
    }
    (directory / "profile.json").write_text(json.dumps(content, indent=2) + "\n")
    draw_profile(profile, name).savefig(directory / "profile.png", dpi=150)
    console(stderr=False).print(f"written: {directory}/profile.json, profile.png", soft_wrap=True)


def _timed(setup: Setup, config: ProfileConfig) -> tuple[Profile, int]:
    """The profile of a pair, and the peak memory of both processes, in bytes."""
    drafter = Drafter(setup.load_draft, Greedy(), setup.processes.draft)
    try:
        with placed(setup.processes.target):
            target = setup.load_target()
            drafter.wait_ready()
            profile = measure(target, drafter, config)
            return profile, environment.peak_memory_bytes() + drafter.peak_memory_bytes()
    finally:
        drafter.close()


def _check(config: ProfileConfig, pair: Pair) -> None:
    if config.longest < 2 or config.repeats < 2 or not config.contexts or min(config.contexts) < 1:
        raise UserError(
            "longest and repeats must be at least 2, contexts at least one number of tokens, got"
            f" longest={config.longest} repeats={config.repeats} contexts={config.contexts}"
        )
    needed, room = max(config.contexts) + config.longest + 1, min(pair.contexts.values())
    if needed > room:
        raise UserError(f"contexts: {needed} tokens do not fit the models' context of {room}")
