"""The steps of the check: what each shows, how long it may take, and what runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A step, which runs in a process of its own.

    ``seconds`` is the most it may take, ``least`` the time without which it is not begun.
    ``command`` is what Python is called with.
    """

    name: str
    shows: str
    seconds: float
    least: float
    command: Sequence[str]


#: In the order in which they run: the most telling first.
STEPS = (
    Step("card", "what the card is, how fast it reads and multiplies", 40, 5, ("gpu_check.card",)),
    Step(
        "tests",
        "rollback, fused layers, CUDA graphs, draft process, decoders: what they give is right",
        140,
        15,
        ("gpu_check.tests",),
    ),
    Step("contest", "the tiny pair's decoders side by side", 60, 15, ("gpu_check.contest",)),
    Step(
        "llama",
        "shapes of Llama 1B & 8B: share of the bandwidth, forward times, decoders, energy",
        110,
        25,
        ("gpu_check.pair", "llama_1b_8b"),
    ),
    Step(
        "qwen",
        "the same for shapes of Qwen3 0.6B & 8B",
        110,
        25,
        ("gpu_check.pair", "qwen3_0b6_8b"),
    ),
    Step("energy", "whether the driver's counter counts", 30, 5, ("gpu_check.energy",)),
    Step(
        "contention",
        "what the two models cost each other on one card: processes, streams, MPS",
        80,
        20,
        ("gpu_check.contention",),
    ),
)


class NoSuchStep(ValueError):
    """A name that no step has."""


def choose(names: str) -> list[Step]:
    """The steps named in ``names``, with commas between them, in their order; all of none."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = [step.name for step in STEPS]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise NoSuchStep(
            f"there is no step {', '.join(unknown)}; expected some of {','.join(known)}"
        )
    return [step for step in STEPS if not wanted or step.name in wanted]
