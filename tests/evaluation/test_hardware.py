"""What decoders compute on, and who decodes on what."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.pearl import Pearl
from decoders.pearl_async import PearlAsync
from decoders.pearl_shared import PearlShared
from decoders.process.placement import Placement
from decoders.process.worker import WorkerOptions
from decoders.prompt_lookup import PromptLookup
from decoders.sampling.sampler import Greedy
from decoders.speculative import Speculative
from decoders.vllm_alone import Vllm
from decoders.vllm_pearl import VllmPearl
from decoders.vllm_speculative import VllmSpeculative
from pearl_eval.config.schema import Dtype, ReferenceHardware
from pearl_eval.errors import UserError
from pearl_eval.evaluation import hardware
from pearl_eval.evaluation.hardware import (
    UsedDevices,
    all_cores,
    check_everything,
    everything,
    on_all_gpus,
)
from pearl_eval.machine.devices import Devices
from pearl_eval.machine.placement import Processes
from pearl_eval.pairs.setup import Places, Setup
from pearl_eval.sizes.model_size import ModelSize


@dataclass(frozen=True)
class _Models:
    target: str


OWN, ALL = ReferenceHardware.own, ReferenceHardware.all
CPU = Devices(("cpu",), ("cpu",))
GPUS = Devices(("cuda:1", "cuda:2"), ("cuda:0",))
ONE_GPU = Devices(("cuda:0",), ("cuda:0",))
TARGET, DRAFT = Placement((3,)), Placement((0,))


def processes(target: Placement, draft: Placement) -> Processes:
    return Processes(target, WorkerOptions(placement=draft))


def setup(
    devices: Devices = CPU,
    target: Placement = TARGET,
    draft: Placement = DRAFT,
) -> Setup:
    size = ModelSize(1, 1, 1, 0, 99)
    source: Any = SimpleNamespace(dtype=Dtype.float32)
    pair: Any = SimpleNamespace(sizes={"target": size, "draft": size})
    runtime: Any = None
    return Setup(source, pair, devices, processes(target, draft), runtime)


def used(decoder: Decoder, own: Setup, rule: ReferenceHardware = OWN) -> list[str]:
    found = UsedDevices.of(own, decoder, rule)
    assert found.describe()["rule"] == rule.value
    return found.describe()["decoder"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("decoder", "own", "all_of_it"),
    [
        (Autoregressive(), ["core 3"], ["core 3"]),
        (PromptLookup(), ["core 3"], ["core 3"]),
        (Speculative(), ["core 3"], ["core 3", "core 0"]),
        (Pearl(), ["core 3", "core 0"], ["core 3", "core 0"]),
        (PearlAsync(), ["core 3", "core 0"], ["core 3", "core 0"]),
        (PearlShared(), ["core 3", "core 0"], ["core 3", "core 0"]),
        (PearlShared(both_ends=False), ["core 3"], ["core 3"]),
        (VllmPearl(), ["core 3", "core 0"], ["core 3", "core 0"]),
        (VllmSpeculative(), ["core 3"], ["core 3"]),
        (Vllm(), ["core 3"], ["core 3"]),
    ],
    ids=str,
)
def test_cores_that_decoders_compute_on(
    decoder: Decoder, own: list[str], all_of_it: list[str]
) -> None:
    assert used(decoder, setup()) == own
    assert used(decoder, setup(), ALL) == all_of_it
    assert UsedDevices.of(setup(), decoder, ALL).reference == ("core 3",)


@pytest.mark.parametrize(
    ("decoder", "own"),
    [
        (Autoregressive(), ["cuda:1", "cuda:2"]),
        (Speculative(), ["cuda:1", "cuda:2", "cuda:0"]),
        (Pearl(), ["cuda:1", "cuda:2", "cuda:0"]),
        (PearlShared(), ["cuda:1", "cuda:2"]),
    ],
    ids=str,
)
def test_gpus_that_decoders_compute_on(decoder: Decoder, own: list[str]) -> None:
    assert used(decoder, setup(GPUS)) == used(decoder, setup(GPUS), ALL) == own
    assert UsedDevices.of(setup(GPUS), decoder, OWN).reference == ("cuda:1", "cuda:2")


def test_an_engine_has_its_own_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 5)
    runtime: Any = SimpleNamespace(gpus=None)
    own = replace(setup(GPUS), runtime=runtime).with_engine(4)
    engine = ["cuda:1", "cuda:2", "cuda:3", "cuda:4"]
    assert used(Vllm(), own) == used(VllmSpeculative(), own) == engine
    assert used(VllmPearl(), own) == [*engine, "cuda:0"]
    assert list(UsedDevices.of(own, VllmPearl(), OWN).reference) == engine
    # Beside it, in a benchmark, others compute where they would without it.
    assert used(Pearl(), own) == ["cuda:1", "cuda:2", "cuda:0"]


def test_what_both_models_are_on_is_there_once() -> None:
    assert used(Pearl(), setup(ONE_GPU)) == ["cuda:0"]
    assert used(Pearl(), setup(draft=Placement((3,)))) == ["core 3"]


def test_threads_stand_for_cores_that_the_system_chooses() -> None:
    free = setup(target=Placement((), 2), draft=Placement((), 1))
    assert used(Pearl(), free) == ["target thread 0", "target thread 1", "draft thread 0"]
    # The target's thread goes from end to end only where it is one.
    assert len(used(PearlShared(), setup(target=Placement((3, 4), 2)))) == 2


def test_all_cores_have_as_many_threads() -> None:
    assert all_cores(setup()) == Placement((3, 0), 2)
    assert all_cores(setup(target=Placement((3, 4), 2))) == Placement((3, 4, 0), 3)
    assert all_cores(setup(draft=Placement((3,)))) == Placement((3,), 1)
    assert all_cores(setup(target=Placement((), 2), draft=Placement(()))) == Placement((), 3)


def test_the_target_is_spread_over_all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[Places] = []
    monkeypatch.setattr(Setup, "moved", lambda self, places: moved.append(places))
    on_all_gpus(setup(Devices(("cuda:10", "cuda:2"), ("cuda:1",))))
    assert moved[0].devices == Devices(("cuda:1", "cuda:2", "cuda:10"), ("cuda:1",))


def test_what_cannot_be_given_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"hardware=all: a decoder that runs in vLLM.*=own"):
        check_everything(setup(), VllmPearl())
    for mixed in (Devices(("cuda:0",), ("cpu",)), Devices(("cpu",), ("cuda:0",))):
        with pytest.raises(UserError, match="both on GPUs"):
            check_everything(setup(mixed), Pearl())
    asked: list[Any] = []
    monkeypatch.setattr(hardware, "check_fits", asked.append)
    check_everything(setup(), Pearl())
    check_everything(setup(GPUS), Autoregressive())
    check_everything(setup(ONE_GPU), Pearl())
    assert asked == []
    check_everything(setup(GPUS), Pearl())
    ((devices, needed),) = asked[0].values()
    # A weight and 99 positions of keys and values, of 4 bytes: of the target twice.
    assert (devices, needed) == (("cuda:1", "cuda:2", "cuda:0"), 3 * 100 * 4)


def test_it_is_not_there_unless_it_was_asked_for() -> None:
    models: Any = None
    assert everything(setup(), Pearl(), Greedy(), models, OWN) is None


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Placement | None]]:
    """Where the body of a ``with`` runs, and that it is left again."""
    log: list[Placement | None] = []

    @contextlib.contextmanager
    def placed(placement: Placement) -> Iterator[None]:
        log.append(placement)
        yield
        log.append(None)

    monkeypatch.setattr(hardware, "placed", placed)
    yield log


@pytest.mark.parametrize(
    ("decoder", "more", "moves"),
    [(Pearl(), True, False), (Speculative(), True, True), (Autoregressive(), False, False)],
    ids=str,
)
def test_only_a_decoder_in_one_process_moves(
    decoder: Decoder, more: bool, moves: bool, places: list[Placement | None]
) -> None:
    models: Any = None
    there = everything(setup(), decoder, Greedy(), models, ALL)
    assert there is not None and there.more is more and there.reference is None
    there_and_back = [Placement((3, 0), 2), None]
    with there.for_reference():
        assert places == there_and_back[: int(more)]
    assert places == (there_and_back if more else [])
    places.clear()
    with there.for_decoder():
        pass
    assert places == (there_and_back if moves else [])


def test_this_process_has_all_cores_there_and_its_own_after() -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip("needs two cores")
    before = torch.get_num_threads()
    own = setup(target=Placement((cores[0],)), draft=Placement((cores[1],)))
    models: Any = None
    there = everything(own, Pearl(), Greedy(), models, ALL)
    assert there is not None
    with there.for_reference():
        assert os.sched_getaffinity(0) == set(cores[:2])
        assert torch.get_num_threads() == 2
    assert os.sched_getaffinity(0) == set(cores)
    assert torch.get_num_threads() == before


def test_on_gpus_the_reference_has_the_target_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    spread: Any = SimpleNamespace(load_target=lambda: "spread over all")
    monkeypatch.setattr(hardware, "on_all_gpus", lambda setup: spread)
    started: list[Any] = []
    stopped: list[str] = []
    session = SimpleNamespace(stop=lambda: stopped.append("stopped"))

    def start(self: Autoregressive, models: Any, sampler: Any) -> Any:
        started.append(models.target)
        return session

    monkeypatch.setattr(Autoregressive, "start", start)
    models = _Models("the target")
    there = everything(setup(GPUS), Pearl(), Greedy(), models, ALL)  # type: ignore[arg-type]
    assert there is not None
    assert there.reference is session and started == ["spread over all"]
    assert replace(models).target == "the target"
    there.stop()
    assert stopped == ["stopped"]
