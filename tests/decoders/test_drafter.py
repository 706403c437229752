"""The draft process dies, raises, hangs: it is said, in seconds, and nothing is left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest
from small_pair import SmallPair, running

from decoders.model.cached_model import CachedModel
from decoders.process.channel import ChannelTimeout
from decoders.process.drafter import Drafter
from decoders.process.memory_use import peak_resident_bytes
from decoders.process.worker import Worker, WorkerError, WorkerOptions, _main, how_it_ended
from decoders.sampling.sampler import Greedy

OPTIONS = WorkerOptions(spin_seconds=0.0005, answer_timeout=30)


@pytest.fixture(params=["forkserver", "spawn"])
def drafter(request: pytest.FixtureRequest, small_pair: SmallPair) -> Iterator[Drafter]:
    options = replace(OPTIONS, start_method=request.param)
    made = Drafter(small_pair.load_draft, Greedy(), options)
    made.wait_ready()
    yield made
    made.close()


def load_badly() -> CachedModel:
    raise RuntimeError("no such weights")


def load_and_die() -> CachedModel:
    os._exit(7)


def load_a_model_that_raises() -> CachedModel:
    class Broken:
        vocab_size = 300
        fixed_shapes = False

        def rollback(self, length: int) -> None:
            raise ValueError("cache is broken")

    return Broken()  # type: ignore[return-value]


def test_drafts_what_the_draft_model_says(drafter: Drafter, small_pair: SmallPair) -> None:
    draft, text = small_pair.load_draft(), [5, 6, 7]
    for _ in range(4):
        text.append(Greedy().proposer(0, 0).propose(draft.extend(text, rows=1), len(text))[0])
    drafter.request(0, [5, 6, 7], 4)
    assert drafter.collect().draft.tokens == text[3:]
    # The next request goes on from there; the one after it goes back.
    drafter.request(7, [], 1)
    first = drafter.collect().draft.tokens
    drafter.request(3, [], 5)
    assert drafter.collect().draft.tokens == text[3:] + first


def test_error_while_loading_is_told() -> None:
    drafter = Drafter(load_badly, Greedy(), OPTIONS)
    with pytest.raises(WorkerError, match="RuntimeError: no such weights"):
        drafter.wait_ready()
    drafter.close()


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(process: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("multiprocessing.context.ForkServerProcess.start", start)
    with pytest.raises(WorkerError, match="process could not be started: no more processes"):
        Drafter(load_badly, Greedy(), OPTIONS)


def worker_on(channel: Any) -> Worker:
    """A handle on a process that is not there."""
    worker = object.__new__(Worker)
    worker._channel, worker._process = channel, SimpleNamespace(pid=5)
    worker._options = WorkerOptions(start_timeout=7.0, answer_timeout=3.0)
    return worker


class Mute:
    """A channel on which nothing comes or goes; ``waited`` has for how long that was waited for."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def receive(self, timeout: float) -> None:
        self.waited.append(timeout)
        raise ChannelTimeout(timeout)

    def send(self, message: object, timeout: float) -> None:
        self.receive(timeout)


def test_a_process_may_take_longer_to_load_a_model_than_to_answer() -> None:
    worker = worker_on(channel := Mute())
    silent = r"^the draft process \(pid 5\) did not"
    with pytest.raises(WorkerError, match=rf"{silent} answer within 7\.0 s$"):
        worker.wait_ready()
    with pytest.raises(WorkerError, match=rf"{silent} answer within 3\.0 s$"):
        worker.receive()
    with pytest.raises(WorkerError, match=rf"{silent} read what it is sent within 3\.0 s$"):
        worker.send(("word",))
    assert worker.receive_within(0.5) is None
    assert channel.waited == [7.0, 3.0, 3.0, 0.5]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError(" bad \n"), "ValueError: bad"),
        (AssertionError(), "AssertionError: no message"),
        (ChannelTimeout(9.0), r"it was asked nothing for 9\.0 s \(runtime\.idle_timeout\)"),
    ],
)
def test_what_failed_in_a_process_is_told_with_where(
    monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    """In a line, whose cause is the other process's traceback."""

    def load_in_vain() -> CachedModel:
        raise error

    sent: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    there: Any = SimpleNamespace(send=lambda *arguments: sent.append(arguments))
    serve: Any = pytest.fail
    options = WorkerOptions(answer_timeout=3.0, idle_timeout=4.0)
    _main(there, load_in_vain, Greedy(), options, serve)
    assert there.patience == 4.0
    ((message, limit),) = sent
    assert limit == 3.0
    here = worker_on(SimpleNamespace(receive=lambda timeout: message))
    with pytest.raises(WorkerError, match=f"^the draft process failed: {told}$") as failed:
        here.wait_ready()
    assert "in load_in_vain" in str(failed.value.__cause__)


def test_another_word_than_the_awaited_one_is_told() -> None:
    for said in (("prepared", 1), ("ready",)):
        worker = worker_on(SimpleNamespace(receive=lambda timeout, said=said: said))
        with pytest.raises(WorkerError, match="makes no sense: expected 'prepared', got \"\\('"):
            worker.receive_word("prepared")
    worker_on(SimpleNamespace(receive=lambda timeout: ("prepared",))).receive_word("prepared")


@pytest.mark.parametrize(
    ("exit_code", "told"),
    [
        (None, "closed its connection"),
        (-9, "was killed by SIGKILL"),
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
    ],
)
def test_how_a_process_left(exit_code: int | None, told: str) -> None:
    assert how_it_ended(exit_code) == told


def test_peak_memory_is_what_the_system_has_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so in units of 1,024 bytes."""
    said = "Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t   12 kB\nVmRSS:\t   11 kB\n"
    asked: list[str] = []

    def path(name: str) -> SimpleNamespace:
        asked.append(name)
        return SimpleNamespace(read_text=lambda: said)

    assert peak_resident_bytes(10**9) == 0, "there is no such process"
    monkeypatch.setattr("decoders.process.memory_use.Path", path)
    assert peak_resident_bytes() == peak_resident_bytes(7) == 12 * 1024
    assert asked == ["/proc/self/status", "/proc/7/status"]
    said = "Name:\tkthreadd\n"
    assert peak_resident_bytes(2) == 0
    assert worker_on(None).peak_memory_bytes() == 0 and asked[-1] == "/proc/5/status"


def test_death_while_loading_is_told() -> None:
    drafter = Drafter(load_and_die, Greedy(), OPTIONS)
    with pytest.raises(WorkerError, match="exit code 7"):
        drafter.wait_ready()
    drafter.close()


def test_error_while_drafting_is_told() -> None:
    drafter = Drafter(load_a_model_that_raises, Greedy(), OPTIONS)
    drafter.wait_ready()
    drafter.request(0, [1], 1)
    with pytest.raises(WorkerError, match="ValueError: cache is broken"):
        drafter.collect()
    drafter.close()


def test_killed_process_is_told(drafter: Drafter) -> None:
    drafter.request(0, [1, 2], 2)
    drafter.collect()
    os.kill(drafter.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="killed by SIGKILL"):
        drafter.request(4, [], 2)
        drafter.collect()


def test_stopped_process_is_a_timeout(small_pair: SmallPair) -> None:
    options = WorkerOptions(spin_seconds=0.0, answer_timeout=0.5)
    drafter = Drafter(small_pair.load_draft, Greedy(), options)
    drafter.wait_ready()
    os.kill(drafter.pid, signal.SIGSTOP)
    drafter.request(0, [1, 2], 2)
    with pytest.raises(WorkerError, match=r"did not answer within 0\.5 s"):
        drafter.collect()
    drafter.close()
    assert not running(drafter.pid)


def test_closing_ends_the_process(drafter: Drafter) -> None:
    assert drafter.peak_memory_bytes() > 10_000_000
    drafter.close()
    assert not running(drafter.pid)


def _start_and_sleep(pair: SmallPair, told: Connection) -> None:
    drafter = Drafter(pair.load_draft, Greedy(), OPTIONS)
    drafter.wait_ready()
    told.send(drafter.pid)
    time.sleep(60)


def test_process_ends_when_its_parent_is_killed(small_pair: SmallPair) -> None:
    """A process that starts a drafter and is killed leaves no draft process behind."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe()
    parent = context.Process(target=_start_and_sleep, args=(small_pair, theirs))
    parent.start()
    assert ours.poll(60)
    pid = ours.recv()
    assert running(pid)
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 20
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)
