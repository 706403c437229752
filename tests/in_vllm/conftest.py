"""vLLM on the tiny pair, alone and with PEARL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
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


Start = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="session")
def start(environment: None) -> Start:
    """Starts vLLM's engine with the tiny pair's target, for a while."""

    @contextlib.contextmanager
    def start(**arguments: Any) -> Iterator[Any]:
        from vllm import LLM

        engine = LLM(model=TARGET, skip_tokenizer_init=True, **{**ARGUMENTS, **arguments})
        yield engine
        engine.llm_engine.engine_core.shutdown()

    return start


@pytest.fixture(scope="session")
def expected(start: Start) -> list[list[int]]:
    """What vLLM alone makes of the prompts, 128 tokens of each."""
    with start() as engine:
        return generate(engine, prompts())
