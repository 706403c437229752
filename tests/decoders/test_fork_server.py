"""How the process is started that draft processes are forked from, and how long it may take."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from decoders.process import fork_server


class Started:
    """A process whose start takes so long on a clock that nothing else moves."""

    def __init__(self, takes: float) -> None:
        self.now, self.takes = 100.0, takes
        self.waited: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def start(self) -> None:
        self.now += self.takes

    def join(self, timeout: float) -> None:
        self.waited.append(timeout)


@pytest.mark.parametrize(("takes", "rest"), [(4.0, 6.0), (10.0, 0.0), (12.0, 0.0)])
def test_a_process_of_its_has_what_the_start_left_of_the_time(
    monkeypatch: pytest.MonkeyPatch, takes: float, rest: float
) -> None:
    process = Started(takes)

    def context(method: str) -> SimpleNamespace:
        assert method == "forkserver"
        return SimpleNamespace(Process=lambda target: process)

    monkeypatch.setattr(fork_server.multiprocessing, "get_context", context)
    monkeypatch.setattr(fork_server, "time", process)
    fork_server.wait_ready(10.0)
    assert process.waited == [rest]


def test_it_runs_at_once_and_imports_what_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    contexts = {"forkserver": SimpleNamespace(set_forkserver_preload=told.append)}
    monkeypatch.setattr(fork_server.multiprocessing, "get_context", contexts.__getitem__)
    monkeypatch.setattr(fork_server.forkserver, "ensure_running", lambda: told.append("it runs"))
    fork_server.prepare(("torch", "transformers"))
    assert told == [["torch", "transformers"], "it runs"]
