"""Cores of the same node for a process, nodes of its own if there are as many."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from small_pair import SmallPair

from decoders.model.cached_model import CachedModel
from decoders.process.drafter import Drafter
from decoders.process.placement import Placement, available_cores
from decoders.process.worker import WorkerError, WorkerOptions
from decoders.sampling.sampler import Greedy
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.machine.numa import numa_nodes
from pearl_eval.machine.placement import Processes
from pearl_eval.pairs.setup import Setup


def make_nodes(folder: Path, *lists: str) -> Path:
    """What the system says of its nodes, as in /sys/devices/system/node."""
    for index, cores in enumerate(lists):
        (folder / f"node{index}").mkdir(parents=True)
        (folder / f"node{index}" / "cpulist").write_text(cores + "\n")
    (folder / "possible").write_text("0-1\n")
    return folder


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores on two nodes."""
    folder = make_nodes(tmp_path / "node", "0-1,4-5", "2-3,6-7")
    monkeypatch.setattr("pearl_eval.machine.placement.available_cores", lambda: list(range(8)))
    monkeypatch.setattr(
        "pearl_eval.machine.placement.numa_nodes", lambda cores: numa_nodes(cores, folder)
    )


def chosen(**settings: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The cores of the target and of the draft process."""
    made = Processes.choose(RuntimeConfig(**settings), all_cpu=True)
    return made.target.cores, made.draft.placement.cores


def test_nodes_are_as_the_system_lists_them(tmp_path: Path) -> None:
    folder = make_nodes(tmp_path / "node", "0-1,4", "", "2-3,5")
    assert numa_nodes(range(6), folder) == [[0, 1, 4], [2, 3, 5]]
    assert numa_nodes([1, 5], folder) == [[1], [5]]
    assert numa_nodes([2, 3], folder) == [[2, 3]]
    # By number, not by name: node10 comes after node2.
    twelve = make_nodes(tmp_path / "twelve", *map(str, range(12)))
    assert numa_nodes(range(12), twelve) == [[core] for core in range(12)]


def test_without_nodes_there_is_one(tmp_path: Path) -> None:
    assert numa_nodes([3, 5], tmp_path) == [[3, 5]]
    # A list that leaves out cores is not to be trusted.
    assert numa_nodes([3, 5], make_nodes(tmp_path / "node", "3")) == [[3, 5]]


@pytest.mark.usefixtures("two_nodes")
def test_draft_and_target_each_have_the_memory_bandwidth_of_a_node() -> None:
    assert chosen() == ((0,), (2,))
    assert chosen(target_threads=4, draft_threads=2) == ((0, 1, 4, 5), (2, 3))


@pytest.mark.usefixtures("two_nodes")
def test_a_process_stays_on_one_node_if_it_can() -> None:
    assert chosen(target_threads=3, draft_threads=3) == ((0, 1, 4), (2, 3, 6))
    assert chosen(target_threads=5) == ((0, 1, 2, 3, 4), (5,))


@pytest.mark.usefixtures("two_nodes")
def test_configured_cores_count_as_processes_of_their_nodes() -> None:
    assert chosen(draft_cores=[0]) == ((2,), (0,))
    assert chosen(target_cores=[6]) == ((6,), (0,))


def _tell_cores() -> CachedModel:
    raise RuntimeError(sorted(os.sched_getaffinity(0)))


def test_a_draft_process_is_in_its_place_before_it_loads() -> None:
    """Memory lies on the node of the core that first writes to it."""
    core = available_cores()[-1]
    options = WorkerOptions(placement=Placement((core,)))
    drafter = Drafter(_tell_cores, Greedy(), options)
    with pytest.raises(WorkerError, match=rf"RuntimeError: \[{core}\]"):
        drafter.wait_ready()
    drafter.close()


def test_the_target_is_in_its_place_before_it_loads(
    run_cli: Any, monkeypatch: pytest.MonkeyPatch, small_pair: SmallPair
) -> None:
    core = available_cores()[-1]
    monkeypatch.setattr(Setup, "load_target", lambda setup: _tell_cores())
    code, _, err = run_cli(f"runtime.target_cores=[{core}]", "task.limit=1", "hydra.run.dir=run")
    assert code == 2 and err.splitlines()[-1].endswith(f"[{core}]")
