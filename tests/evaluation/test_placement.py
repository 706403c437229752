from __future__ import annotations

import os
from typing import Any, cast

import pytest
from small_pair import SmallPair

from decoders.process.models import Checkpoint
from decoders.process.worker import WorkerOptions
from pearl_eval.config.schema import Dtype, ForwardKind, RuntimeConfig
from pearl_eval.machine.devices import Devices
from pearl_eval.machine.environment import describe
from pearl_eval.machine.placement import Processes, placed
from pearl_eval.pairs import pretrained
from pearl_eval.pairs.pair import Pair
from pearl_eval.pairs.setup import Setup


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Four cores, whatever this machine has."""
    available = [3, 5, 6, 9]
    monkeypatch.setattr("pearl_eval.machine.placement.available_cores", lambda: available)
    return available


def test_each_process_has_cores_of_its_own_by_default(cores: list[int]) -> None:
    chosen = Processes.choose(RuntimeConfig(), all_cpu=True)
    assert (chosen.target.cores, chosen.draft.placement.cores) == ((3,), (5,))
    assert chosen.draft.spin_seconds > 0
    chosen = Processes.choose(RuntimeConfig(target_threads=3), all_cpu=True)
    assert (chosen.target.cores, chosen.draft.placement.cores) == ((3, 5, 6), (9,))
    assert chosen.target.threads == 3


def test_limits_of_time_reach_the_draft_process(cores: list[int]) -> None:
    limits = {"start_timeout": 1.0, "answer_timeout": 2.0, "idle_timeout": 3.0}
    draft = Processes.choose(RuntimeConfig(**limits), all_cpu=True).draft
    assert {name: getattr(draft, name) for name in limits} == limits


def test_a_draft_process_is_waited_for_as_long_where_nothing_is_said() -> None:
    said, own = RuntimeConfig(), WorkerOptions()
    for name in ("start_timeout", "answer_timeout", "idle_timeout", "spin_seconds"):
        assert getattr(own, name) == getattr(said, name)


def test_what_is_configured_is_kept_free_of_the_other(cores: list[int]) -> None:
    chosen = Processes.choose(RuntimeConfig(draft_cores=[3]), all_cpu=True)
    assert (chosen.target.cores, chosen.draft.placement.cores) == ((5,), (3,))


def test_processes_that_share_a_core_never_spin(
    cores: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = RuntimeConfig(target_cores=[3], draft_cores=[3])
    assert Processes.choose(shared, all_cpu=True).draft.spin_seconds == 0
    monkeypatch.setattr("pearl_eval.machine.placement.available_cores", lambda: [0])
    alone = Processes.choose(RuntimeConfig(), all_cpu=True)
    assert alone.target.cores == alone.draft.placement.cores == (0,)
    assert alone.draft.spin_seconds == 0


def test_a_shared_target_has_the_cores_of_both_processes(cores: list[int]) -> None:
    def ends(**settings: Any) -> list[tuple[int, ...]]:
        at_ends = Processes.choose(RuntimeConfig(**settings), all_cpu=True).at_ends()
        assert all(options.spin_seconds == 0 for options in at_ends)
        return [options.placement.cores for options in at_ends]

    assert ends() == [(3,), (5,)]
    assert ends(target_cores=[9], draft_cores=[3, 6]) == [(9,), (3, 6)]
    assert ends(target_cores=[3], draft_cores=[3]) == [(3,)]
    assert ends(target_threads=2) == [(3, 5)]


def test_a_shared_draft_model_goes_to_the_first_and_the_last_gpu_of_the_target(
    small_pair: SmallPair,
) -> None:
    def places(*target: str) -> list[Any]:
        devices = Devices(target, ("cuda:0",))
        pair = Pair(cast(Any, None), {}, (), small_pair.load_target, lambda devices: devices)
        processes = Processes.choose(RuntimeConfig(), devices.all_cpu)
        setup = Setup(
            cast(Any, None), pair, devices, processes, RuntimeConfig(ForwardKind.transformers)
        )
        return [end.load_draft() for end in setup.models(cast(Any, None)).ends]

    assert places("cuda:1", "cuda:2", "cuda:3") == [("cuda:1",), ("cuda:3",)]
    assert places("cuda:1") == [("cuda:1",)]


def test_a_target_over_several_gpus_is_spread_by_layers_over_their_free_memory(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = small_pair.load_target().model, {}

    def from_pretrained(path: str, **settings: Any) -> tuple[Any, dict[str, set[str]]]:
        asked.update(settings)
        return model, {"missing_keys": set(), "mismatched_keys": set()}

    monkeypatch.setattr(pretrained.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    monkeypatch.setattr(pretrained, "free_bytes", {"cuda:1": 10, "cuda:2": 20}.__getitem__)
    target = Checkpoint(str(small_pair.folder / "target"))
    pretrained.load_model(target, "bfloat16", ("cuda:1", "cuda:2"), 300)
    assert (asked["device_map"], asked["max_memory"]) == ("auto", {1: 10, 2: 20})
    pretrained.load_model(target, "bfloat16", ("cuda:2",), 300)
    assert asked["device_map"] == {"": "cuda:2"}


def test_gpu_runs_leave_cores_to_the_system(cores: list[int]) -> None:
    chosen = Processes.choose(RuntimeConfig(), all_cpu=False)
    assert chosen.target.cores == chosen.draft.placement.cores == ()
    assert chosen.draft.spin_seconds > 0


def test_placing_is_undone() -> None:
    before = os.sched_getaffinity(0)
    with placed(Processes.choose(RuntimeConfig(), all_cpu=True).target):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_files_say_of_a_target_on_several_gpus_that_it_is_spread_by_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pearl_eval.machine.environment._device_name", str)
    processes = Processes.choose(RuntimeConfig(), all_cpu=False)

    def parallel(*target: str) -> object:
        described = describe(Dtype.float32, Devices(target, ("cuda:0",)), processes)
        return described["target_parallel"]

    assert parallel("cuda:1") is None
    assert parallel("cuda:1", "cuda:2") == {"by": "layers", "ranks": 1}
