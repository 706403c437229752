"""Decoders that decode the same prompts by turns, in one process, with one target."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.pearl import Pearl
from decoders.pearl_async import PearlAsync
from decoders.pearl_shared import PearlShared
from decoders.process.clock import no_garbage_collection
from decoders.process.models import Models
from decoders.sampling.sampler import Greedy
from decoders.session import Session
from decoders.speculative import Speculative
from gpu_check.rows import tell
from pearl_eval.machine.energy import EnergyMeter
from pearl_eval.pairs.setup import Setup

#: What the others are held against.
REFERENCE = "autoregressive"


@dataclass
class Taken:
    """What a decoder took for all prompts together, and gave."""

    tokens: int = 0
    seconds: float = 0.0
    joules: float | None = 0.0
    outputs: list[list[int]] = field(default_factory=list)
    draft_seconds: float = 0.0
    target_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds

    def add(self, one: Generation, joules: float | None) -> None:
        self.tokens += len(one.output_ids)
        self.seconds += one.seconds
        self.joules = None if joules is None or self.joules is None else self.joules + joules
        self.outputs.append(one.output_ids)
        self.draft_seconds += sum(each.draft_seconds for each in one.rounds)
        self.target_seconds += sum(each.target_seconds for each in one.rounds)


def decoders(speculative_gamma: int, pearl_gamma: int) -> dict[str, Decoder]:
    """Those of the check, by their names."""
    return {
        REFERENCE: Autoregressive(),
        "speculative": Speculative(speculative_gamma),
        "pearl_shared": PearlShared(pearl_gamma),
        "pearl": Pearl(pearl_gamma),
        "pearl_async": PearlAsync(),
    }


@contextlib.contextmanager
def started(chosen: Mapping[str, Decoder], models: Models) -> Iterator[dict[str, Session]]:
    """Their sessions; the draft processes start at the same time, which saves most of it."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(chosen)) as pool:
        starts = {n: pool.submit(one.start, models, Greedy()) for n, one in chosen.items()}
        sessions = {}
        error: BaseException | None = None
        for name, start in starts.items():
            try:
                sessions[name] = start.result()
                stack.callback(sessions[name].stop)
            except Exception as failed:  # told of, and the others go on
                tell(name, "can't be started", f"{type(failed).__name__}: {failed}"[:200])
                error = failed
        if REFERENCE not in sessions and error:
            raise error
        yield sessions


def by_turns(
    setup: Setup,
    models: Models,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    speculative_gamma: int,
    pearl_gamma: int,
) -> dict[str, Taken]:
    """How fast the decoders are. The first prompt is for warming up, and does not count."""
    stop = setup.pair.stop_ids
    meter = EnergyMeter([*setup.devices.target, *setup.devices.draft])
    chosen = decoders(speculative_gamma, pearl_gamma)
    speeds: dict[str, Taken] = {}
    with started(chosen, models) as sessions:
        for number, prompt in enumerate(prompts):
            for name, session in sessions.items():
                before = meter.joules()
                with no_garbage_collection():
                    made = session.decode(prompt, max_new_tokens, stop)
                after = meter.joules()
                used = None if before is None or after is None else after - before
                if number:
                    speeds.setdefault(name, Taken()).add(made, used)
    return speeds


def tell_speeds(speeds: Mapping[str, Taken]) -> None:
    """A row for each decoder: its speed, over the reference's, and whether it gave the same."""
    reference = speeds[REFERENCE]
    for name, speed in speeds.items():
        pairs = zip(speed.outputs, reference.outputs, strict=True)
        same = sum(ours == theirs for ours, theirs in pairs)
        energy = "" if speed.joules is None else f", {speed.joules / speed.tokens:.2f} J a token"
        tell(
            name,
            f"{speed.tokens_per_second:.1f} tokens/s",
            f"{speed.tokens_per_second / reference.tokens_per_second:.2f}× {REFERENCE},"
            f" identical {same}/{len(speed.outputs)}{energy}; of {speed.seconds:.2f} s the target"
            f" computed {speed.target_seconds:.2f}, the draft model {speed.draft_seconds:.2f}",
        )
