from __future__ import annotations

import os

import pytest

from pearl_eval.config import RuntimeConfig
from pearl_eval.placement import Processes, placed


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four cores, whatever this machine has."""
    available = [3, 5, 6, 9]
    monkeypatch.setattr("pearl_eval.placement.available_cores", lambda: available)
    return available


def test_each_process_has_cores_of_its_own_by_default(cores: list[int]) -> None:
    chosen = Processes.choose(RuntimeConfig(), all_cpu=True)
    assert (chosen.target.cores, chosen.draft.placement.cores) == ((3,), (5,))
    assert chosen.draft.spin_seconds > 0
    chosen = Processes.choose(RuntimeConfig(target_threads=3), all_cpu=True)
    assert (chosen.target.cores, chosen.draft.placement.cores) == ((3, 5, 6), (9,))
    assert chosen.target.threads == 3


def test_what_is_configured_is_kept_free_of_the_other(cores: list[int]) -> None:
    chosen = Processes.choose(RuntimeConfig(draft_cores=[3]), all_cpu=True)
    assert (chosen.target.cores, chosen.draft.placement.cores) == ((5,), (3,))


def test_processes_that_share_a_core_never_spin(
    cores: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = RuntimeConfig(target_cores=[3], draft_cores=[3])
    assert Processes.choose(shared, all_cpu=True).draft.spin_seconds == 0
    monkeypatch.setattr("pearl_eval.placement.available_cores", lambda: [0])
    alone = Processes.choose(RuntimeConfig(), all_cpu=True)
    assert alone.target.cores == alone.draft.placement.cores == (0,)
    assert alone.draft.spin_seconds == 0


def test_gpu_runs_leave_cores_to_the_system(cores: list[int]) -> None:
    chosen = Processes.choose(RuntimeConfig(), all_cpu=False)
    assert chosen.target.cores == chosen.draft.placement.cores == ()
    assert chosen.draft.spin_seconds > 0


def test_placing_is_undone() -> None:
    before = os.sched_getaffinity(0)
    with placed(Processes.choose(RuntimeConfig(), all_cpu=True).target):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
