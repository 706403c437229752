"""How vLLM's scheduler waits for its workers where PEARL says: on stand-ins of vLLM's own."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An executor that was started; what it waits on, and the time that it sees."""
    slept: list[float] = []
    asleep: list[int | None] = []
    condition = SimpleNamespace(last_read=50.0, busy_loop_s=1.0, wait=asleep.append)

    class MultiprocExecutor:
        def _init_executor(self) -> None:
            self.response_mqs = [
                SimpleNamespace(_spin_condition=condition),
                SimpleNamespace(_spin_condition=None),  # of another machine
            ]

    module = ModuleType("vllm.v1.executor.multiproc_executor")
    vars(module)["MultiprocExecutor"] = MultiprocExecutor
    for name in ("vllm", "vllm.v1", "vllm.v1.executor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "decoders.vllm.executor", raising=False)
    import pearl_eval.vllm

    made = pearl_eval.vllm.Executor()
    # By that name it is found in a process of vLLM's, whatever the user's own folders are called.
    assert f"{type(made).__module__}.{type(made).__qualname__}" == "pearl_eval.vllm.Executor"
    own = sys.modules.pop("decoders.vllm.executor")
    now = SimpleNamespace(monotonic=lambda: 50.0, sleep=slept.append)
    monkeypatch.setattr(own, "time", now)
    made._init_executor()
    return SimpleNamespace(condition=condition, now=now, slept=slept, asleep=asleep)


def test_it_sleeps_a_little_while_answers_come(waiting: Any) -> None:
    for late in (50.0, 51.0):
        waiting.now.monotonic = lambda late=late: late
        waiting.condition.wait(timeout_ms=7)
    assert waiting.slept == [5e-5, 5e-5] and waiting.asleep == []


def test_then_it_waits_as_vllm_does(waiting: Any) -> None:
    waiting.now.monotonic = lambda: 51.001
    waiting.condition.wait(timeout_ms=7)
    waiting.condition.last_read = 51.0
    waiting.condition.wait(timeout_ms=8)
    assert waiting.asleep == [7] and len(waiting.slept) == 1


def test_what_vllm_is_to_find_by_no_such_name_is_an_error() -> None:
    import pearl_eval.vllm

    with pytest.raises(AttributeError, match="has no attribute 'Executer'"):
        pearl_eval.vllm.Executer  # noqa: B018
