"""The exact distribution of a decoder's outputs on the toy pair, and the one it must be."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from toy import (
    VOCAB,
    Branches,
    InlineBrancher,
    InlineDrafter,
    InlineForerunner,
    InlineRetriever,
    TableModel,
    scripted_chance,
    scripted_noise,
    table,
)

from decoders.decoder import Decoder
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Sampler
from decoders.sampling.temperature import Temperature
from decoders.session import Session

PROMPT = [1, 3]
TARGET, DRAFT = table(seed=0, possible=3), table(seed=1, possible=2)


@contextlib.contextmanager
def in_one_process() -> Iterator[None]:
    """Draft processes run here, the moment they are asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoders.pearl.Drafter", InlineDrafter)
        patch.setattr("decoders.pearl_retrieval.Retriever", InlineRetriever)
        patch.setattr("decoders.pearl_async.Forerunner", InlineForerunner)
        patch.setattr("decoders.ssd.Brancher", InlineBrancher)
        yield


class Ticks:
    """A clock that goes on by a millisecond whenever it is read."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> float:
        self.now += 1
        return self.now / 1000


TICKS = Ticks()
#: Modules whose clocks may decide what an adaptive decoder does next.
TIMED = ("session", "pearl_async", "pearl_adaptive", "process.forerunner_service")


@contextlib.contextmanager
def every_way() -> Iterator[Branches]:
    """Random numbers are replaced by branches."""
    made = Branches()
    with in_one_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoders.sampling.temperature.Chance", scripted_chance(made))
        patch.setattr("decoders.sampling.temperature.SharedNoise", scripted_noise(made))
        # A draft that is prepared multiplies the ways by those of all that are never taken.
        patch.setattr(InlineBrancher, "schedule", (0,))
        # What was measured may decide what is done next, so it is the same each time.
        for module in TIMED:
            patch.setattr(f"decoders.{module}.clock", TICKS)
        yield made


def start(decoder: Decoder, sampler: Sampler, draft: torch.Tensor = DRAFT) -> Session:
    """Start a decoder on the toy pair."""
    models: Any = Models(
        TableModel(TARGET),  # type: ignore[arg-type]
        lambda: TableModel(draft),  # type: ignore[arg-type, return-value]
        WorkerOptions(),
    )
    return decoder.start(models, sampler)


def distribution(
    branches: Branches,
    decoder: Decoder,
    sampler: Sampler,
    length: int,
    draft: torch.Tensor = DRAFT,
) -> Any:
    """The exact distribution of a decoder's outputs."""

    def decode() -> tuple[int, ...]:
        # From the start each time, since a decoder may learn from what it decoded before.
        TICKS.now = 0
        return tuple(start(decoder, sampler, draft).decode(PROMPT, length, []).output_ids)

    return branches.outcomes(decode)


def expected(sampler: Temperature, length: int) -> dict[tuple[int, ...], float]:
    """The target's own distribution, by the chain rule."""
    model = TableModel(TARGET)
    found = {}
    for output in itertools.product(range(VOCAB), repeat=length):
        model.rollback(0)
        rows = warped(model.extend([*PROMPT, *output], length + 1)[:length], sampler)
        chance = rows.gather(-1, torch.tensor(output)[:, None]).prod()
        if chance > 0:
            found[output] = float(chance)
    return found


def warped(logits: torch.Tensor, sampler: Temperature) -> torch.Tensor:
    """What the target samples from, ``[rows, vocab]``: by definition, not by the sampler's code."""
    chances, order = (logits / sampler.temperature).softmax(-1).sort(descending=True)
    if sampler.top_k:
        chances[:, sampler.top_k :] = 0
        chances /= chances.sum(-1, keepdim=True)
    chances[chances.cumsum(-1) - chances >= sampler.top_p] = 0
    chances /= chances.sum(-1, keepdim=True)
    return torch.zeros_like(chances).scatter(-1, order, chances)


def check(found: dict[tuple[int, ...], float], wanted: dict[tuple[int, ...], float]) -> None:
    assert sum(found.values()) == pytest.approx(1, abs=1e-9)
    assert found.keys() == wanted.keys()
    for output, chance in wanted.items():
        assert found[output] == pytest.approx(chance, abs=1e-9), output
