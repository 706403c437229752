"""A decoder and a schedule that nobody has heard of, as a user may write them elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from decoders.decoder import Decoder
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.schedule import DRAFT_MODEL, Schedule
from decoders.session import Session
from pearl_eval.simulation import Machine, SimulatedRound


@dataclass(frozen=True)
class Sprints:
    """One draft forward gives ``tokens`` tokens at once, and one of the target judges them."""

    tokens: int

    drafts_by: ClassVar[str] = DRAFT_MODEL

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"decoder.tokens must be at least 1, got {self.tokens}")

    def rounds(self, machine: Machine) -> Iterator[SimulatedRound]:
        clock, known = 0.0, 0
        while known < machine.max_new_tokens:
            count = min(self.tokens, machine.max_new_tokens - known - 1)
            context = machine.prompt + known
            drafting = machine.draft.forward(1, context)
            verifying = machine.target.forward(count + 1, context)
            accepted = machine.text.accepted(known, count)
            known += accepted + 1
            yield SimulatedRound(
                "sprint",
                clock,
                drafting + verifying,
                drafted=count,
                judged=min(accepted + 1, count),
                accepted=accepted,
                draft_seconds=drafting,
                target_seconds=verifying,
                verified_length=known,
                target_tokens=count + 1,
            )
            clock += drafting + verifying

    def ends_run(self, one: SimulatedRound) -> bool:
        return one.mode == "sprint"


@dataclass
class Sprinter(Decoder):
    """``shares``: its draft model is on the first of the target's devices."""

    idea = "one forward, many tokens"

    tokens: int = 3
    shares: bool = False
    told: bool = True

    @property
    def draft_ends(self) -> int:
        return int(self.shares)

    def simulated_as(self) -> Schedule | None:
        return Sprints(self.tokens) if self.told else None

    def start(self, models: Models, sampler: Sampler) -> Session:
        raise NotImplementedError("what is here is about predicting it alone")
