"""vLLM on the tiny pair, alone and with PEARL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from vllm_tiny import ARGUMENTS, ENVIRONMENT, TARGET, generate, prompts


@pytest.fixture(scope="session")
def environment() -> Iterator[None]:
    """The environment that engines are started in."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def start(environment: None) -> Callable[..., Any]:
    """Starts vLLM's engine with the tiny pair's target."""
    from vllm import LLM

    return lambda **arguments: LLM(
        model=TARGET, skip_tokenizer_init=True, **{**ARGUMENTS, **arguments}
    )


@pytest.fixture(scope="session")
def expected(start: Callable[..., Any]) -> list[list[int]]:
    """What vLLM alone makes of the prompts, 128 tokens of each."""
    return generate(start(), prompts())
