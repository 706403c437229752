"""The draft process dies, raises, hangs: it is said, in seconds, and nothing is left running."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import pytest
from small_pair import SmallPair, running

from decoders.model.cached_model import CachedModel
from decoders.process.drafter import Drafter
from decoders.process.worker import WorkerError, WorkerOptions
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
