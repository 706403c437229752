"""PEARL inside vLLM gives the target's own text, over many prompts, settings and ends; and sampled
text that is distributed as the target's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest

pytest.importorskip("vllm")

from vllm_tiny import (
    ARGUMENTS,
    fit,
    generate,
    handed,
    humaneval,
    log_of,
    pearl_arguments,
    set_pearl,
)

from decoders.sampling.temperature import Temperature
from pearl_eval.checks.distribution import Fit

pytestmark = pytest.mark.nightly
#: Prompts, tokens generated of each, and the longest draft.
COUNT, NEW, LONGEST = 50, 128, 16
#: Each has a different end inside of what is drafted.
LIMITS = [{"max_tokens": 1 + 37 * number % NEW} for number in range(COUNT)]
#: How often each prompt is sampled, and at which temperature.
SAMPLES, SAMPLING = 4, Temperature(temperature=1.0)


@pytest.fixture(scope="module")
def asked() -> list[list[int]]:
    return humaneval(COUNT, ARGUMENTS["max_model_len"] - NEW)


@pytest.fixture(scope="module")
def alone(start: Callable[..., Any], asked: list[list[int]]) -> list[list[int]]:
    """What vLLM alone makes of the prompts."""
    with start() as engine:
        return generate(engine, asked, max_tokens=NEW)


@pytest.fixture(scope="module")
def engine(start: Callable[..., Any], alone: list[list[int]]) -> Iterator[Any]:
    arguments = pearl_arguments()
    arguments["speculative_config"]["num_speculative_tokens"] = LONGEST
    with start(**arguments) as engine:
        yield engine


WAYS = [
    *({"ahead": ahead, "wait": ahead} for ahead in (1, 2, 3, 5, 8, 16)),
    {"ahead": 16, "wait": 0},
    {"ahead": 32, "wait": "auto"},
    *({"gamma": gamma} for gamma in (1, 2, 3, 5, 8, 11, 16)),
]


@pytest.mark.parametrize("changes", WAYS, ids=str)
def test_greedy_text_is_the_targets_own(
    engine: Any, asked: list[list[int]], alone: list[list[int]], changes: dict[str, Any]
) -> None:
    assert len(asked) == COUNT
    set_pearl(engine, **changes)
    assert generate(engine, asked, max_tokens=NEW) == alone
    log = log_of(engine)
    assert log[-1]["failed"] is None
    longest = max(map(len, handed(log)))
    assert longest <= min(changes.get("gamma", LONGEST + 1) - 1, changes.get("ahead", LONGEST))
    # A draft process that is hardly let run may have nothing at hand where nobody waits for it.
    if changes.get("wait") not in (0, "auto") and changes != {"gamma": 1}:
        assert longest > 0


@pytest.mark.parametrize("changes", [{"wait": 8}, {"gamma": 5}, {"gamma": 16}], ids=str)
def test_texts_end_where_the_targets_own_do(
    engine: Any, asked: list[list[int]], alone: list[list[int]], changes: dict[str, Any]
) -> None:
    set_pearl(engine, **changes)
    cut = [whole[: one["max_tokens"]] for whole, one in zip(alone, LIMITS, strict=True)]
    assert generate(engine, asked, LIMITS) == cut
    # Each text ends at a token that it has at another place.
    stops = [whole[11 + 2 * number] for number, whole in enumerate(alone)]
    stopped = [whole[: whole.index(stop) + 1] for whole, stop in zip(alone, stops, strict=True)]
    assert len(set(map(len, stopped))) > COUNT // 4
    each = [{"stop_token_ids": [stop]} for stop in stops]
    assert generate(engine, asked, each, max_tokens=NEW) == stopped


def sampled(engine: Any, asked: list[list[int]]) -> Fit:
    """How well what is sampled fits the target's distribution."""
    several = list(chain.from_iterable([prompt] * SAMPLES for prompt in asked))
    # By the engine's own seed: on a CPU vLLM fails where a request's own meets a prompt in parts.
    made = generate(engine, several, temperature=SAMPLING.temperature, max_tokens=NEW)
    found = fit(several, made, SAMPLING)
    assert found.tokens == COUNT * SAMPLES * NEW
    print(found)
    return found


@pytest.mark.parametrize("changes", [{"wait": 8}, {"gamma": 5}], ids=str)
def test_sampled_text_is_distributed_as_the_targets(
    engine: Any, asked: list[list[int]], changes: dict[str, Any]
) -> None:
    set_pearl(engine, **changes)
    found = sampled(engine, asked)
    assert not found.refused
    assert found.smallest_bias < 0.02
    assert any(handed(log_of(engine)))


def test_a_target_that_accepts_too_often_is_seen(engine: Any, asked: list[list[int]]) -> None:
    """Drafted tokens accepted with 1 / 0.9 of their probability: so much the check can see."""

    def too_often(worker: Any, much: float) -> None:
        from vllm.v1.sample import rejection_sampler as sampler

        own = getattr(sampler, "own_uniform_probs", sampler.generate_uniform_probs)
        sampler.own_uniform_probs = own
        sampler.generate_uniform_probs = lambda *args: own(*args) * much

    set_pearl(engine, wait=8)
    engine.collective_rpc(too_often, args=(0.9,))
    try:
        assert sampled(engine, asked).refused
    finally:
        engine.collective_rpc(too_often, args=(1.0,))
