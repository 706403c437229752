"""No two timed runs on the same cores or GPUs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.evaluation import reservation
from pearl_eval.evaluation.reservation import FOLDER_VARIABLE, reserve
from pearl_eval.machine.devices import Devices
from pearl_eval.machine.placement import Processes
from pearl_eval.pairs.pair import PairSource
from pearl_eval.pairs.setup import Setup

Take = Callable[..., Any]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Four cores, no GPU, and nothing in use."""
    cores = [0, 1, 2, 3]
    monkeypatch.setattr("pearl_eval.machine.placement.available_cores", lambda: cores)
    monkeypatch.setattr(reservation, "available_cores", lambda: cores)
    monkeypatch.setattr(reservation, "_PAUSE", 0.02)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "locks"))


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five GPUs, as far as choosing goes."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    properties = lambda device: SimpleNamespace(uuid=f"uuid-{device}")  # noqa: E731
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)


class Source(PairSource):
    """A pair of a target over two GPUs and a draft model on one; counts how often it is opened."""

    opened = 0

    def choose_devices(self, runtime: RuntimeConfig) -> Devices:
        return Devices.choose(runtime.target_device, runtime.draft_device, 2, 1, among=runtime.gpus)

    def open(self, devices: Devices, uses_draft: bool) -> Any:
        self.opened += 1
        return SimpleNamespace(sizes={}, devices=devices, draft_tokenizer=None)


def setup_of(runtime: RuntimeConfig) -> Setup:
    source = Source()
    devices = source.choose_devices(runtime)
    processes = Processes.choose(runtime, devices.all_cpu)
    return Setup(source, cast(Any, None), devices, processes, runtime)


def taking(**settings: Any) -> Any:
    return reserve(setup_of(RuntimeConfig(**{"devices_timeout": 0.0, **settings})))


def cores(setup: Setup) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return setup.processes.target.cores, setup.processes.draft.placement.cores


def test_a_second_run_goes_to_free_cores_and_a_third_is_refused() -> None:
    with taking() as first:
        assert cores(first) == ((0,), (1,))
        with taking() as second:
            assert cores(second) == ((2,), (3,))
            refused = pytest.raises(UserError, match=r"core-0, core-1, in use by process \d+ in /")
            with refused, taking():
                pass
        with taking() as again:
            assert cores(again) == ((2,), (3,))
    with taking() as last:
        assert cores(last) == ((0,), (1,))


def test_a_run_never_makes_do_with_fewer_cores_than_it_would_have_alone() -> None:
    with taking(target_cores=[0], draft_cores=[1]):
        with pytest.raises(UserError, match="core-0, core-1"), taking(target_threads=2):
            pass
        with taking(cores=[1, 2, 3]) as setup:
            assert cores(setup) == ((2,), (3,))


def test_cores_asked_for_by_name_are_not_moved() -> None:
    with taking(), pytest.raises(UserError, match="core-1"), taking(target_cores=[1]):
        pass


def test_sharing_is_had_by_asking() -> None:
    with taking(target_cores=[0]), taking(target_cores=[0], share_devices=True) as setup:
        assert cores(setup) == ((0,), (1,))


def test_a_run_waits_until_what_it_needs_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    holder = taking(target_cores=[0], draft_cores=[1])
    holder.__enter__()
    timer = threading.Timer(0.2, holder.__exit__, (None, None, None))
    timer.start()
    with taking(target_cores=[0], draft_cores=[2], devices_timeout=60.0):
        timer.join()
    assert capsys.readouterr().err.count("waiting for core-0, in use by process") == 1


def test_gpus_are_had_alone_too(gpus: None) -> None:
    with taking(gpus=[1, 2, 3, 4]) as first:
        assert first.devices == Devices(("cuda:2", "cuda:3"), ("cuda:1",))
        assert cast(Source, first.source).opened == 0
        with pytest.raises(UserError, match="gpu-uuid-cuda:1, gpu-uuid-cuda:2"), taking():
            pass
        with taking(target_device="cuda:0", draft_device="cuda:4") as second:
            assert second.devices == Devices(("cuda:0",), ("cuda:4",))
    with taking(target_device="cuda:0", draft_device="cuda:0"), taking() as moved:
        assert (
            moved.devices
            == cast(Any, moved.pair).devices
            == Devices(("cuda:2", "cuda:3"), ("cuda:1",))
        )


def test_so_are_those_of_an_engine(gpus: None) -> None:
    """The target of this process is on GPUs 1 and 2, the draft model on 0."""
    whole = setup_of(RuntimeConfig(devices_timeout=0.0))
    for count, engine in (
        (0, ()),
        (1, ("cuda:1",)),
        (3, ("cuda:1", "cuda:2", "cuda:3")),
        (5, ("cuda:1", "cuda:2", "cuda:3", "cuda:4", "cuda:0")),
    ):
        setup = whole.with_engine(count)
        assert setup.engine == setup.places.engine == engine
        locks = {f"gpu-uuid-cuda:{index}" for index in range(max(3, count + 1 if count < 5 else 5))}
        assert {name for name in reservation.names(setup.places) if "gpu" in name} == locks
    with pytest.raises(UserError, match="ask for 6 GPUs, but there are 5 for this run"):
        whole.with_engine(6)
    with pytest.raises(UserError, match="ask for 4 GPUs, but there are 3"):
        setup_of(RuntimeConfig(gpus=[0, 1, 4])).with_engine(4)
    on_cpu = setup_of(RuntimeConfig(target_device="cpu", draft_device="cpu"))
    assert on_cpu.with_engine(2).engine == ("cuda:0", "cuda:1")
    # Another run that needs what the engine has is refused, and one that doesn't is not.
    with reserve(whole.with_engine(3)):
        refused = pytest.raises(UserError, match="gpu-uuid-cuda:3, in use")
        with refused, taking(target_device="cuda:3", draft_device="cuda:3"):
            pass
        with taking(target_device="cuda:4", draft_device="cuda:4"):
            pass


def test_an_engine_goes_to_gpus_that_are_free(gpus: None) -> None:
    wanted = setup_of(RuntimeConfig(devices_timeout=0.0)).with_engine(3)
    with taking(target_device="cuda:0", draft_device="cuda:0"), reserve(wanted) as setup:
        assert setup.devices == Devices(("cuda:2", "cuda:3"), ("cuda:1",))
        assert setup.engine == ("cuda:2", "cuda:3", "cuda:4")
        cast(Any, setup.pair).load_draft = None
        models = cast(Any, setup).models(None)
        assert (models.engine, models.draft_device) == (setup.engine, "cuda:1")


def test_without_a_gpu_an_engine_has_none() -> None:
    assert setup_of(RuntimeConfig()).with_engine(2).engine == ()


def _hold(ready: Connection) -> Iterator[None]:
    with taking(target_cores=[0], draft_cores=[1]):
        ready.send(None)
        signal.pause()
    return iter(())


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_what_a_killed_run_held_is_free_at_once() -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(theirs,))
    process.start()
    assert process.pid
    ours.recv()
    with pytest.raises(UserError), taking(target_cores=[0]):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with taking(target_cores=[0], draft_cores=[1]):
        pass


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "locks"))
    with pytest.raises(UserError, match=f"can't be locked .*{FOLDER_VARIABLE}"), taking():
        pass
