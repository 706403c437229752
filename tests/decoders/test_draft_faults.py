"""A draft process that is stuck, short of memory, slow or talks nonsense: told, or harmless.

Killed and raising ones are in test_drafter.py.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import random
import re
import resource
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from small_pair import SmallPair, running

from decoders.autoregressive import Autoregressive
from decoders.model.cached_model import CachedModel
from decoders.pearl import Pearl
from decoders.process.channel import SLOTS, Channel, ChannelTimeout, Message
from decoders.process.drafter import BEGIN, DISTRIBUTION, PROPOSAL, REQUEST, Drafter, OnRequest
from decoders.process.forerunner import Forerunner
from decoders.process.models import End, Models
from decoders.process.relay import RelayDrafter
from decoders.process.worker import Worker, WorkerError, WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler

Run = Callable[..., tuple[int, str, str]]
SHORT = ("task.limit=3", "task.max_new_tokens=16", "hydra.run.dir=run")
CONF = f"--config-dir={Path(__file__).parents[1] / 'conf'}"
OPTIONS = WorkerOptions(spin_seconds=0.0, answer_timeout=0.5)


@dataclass(frozen=True)
class Saying:
    """What a draft process does that answers every request with the same message."""

    message: Message

    def __call__(self, channel: Channel, model: CachedModel, sampler: Sampler) -> None:
        while True:
            if channel.receive()[0] != BEGIN:
                channel.send(self.message)


def guessing(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    """Drafts tokens of chance, as many as are asked for or not."""
    chance = random.Random(0)
    while True:
        name, *values = channel.receive()
        if name == REQUEST:
            count = chance.randint(0, values[2] + 2)
            channel.send((PROPOSAL, [chance.randrange(300) for _ in range(count)], [], 0.0))


class Faulty(Drafter):
    """A drafter whose process does something else."""

    def __init__(self, load: Callable[[], CachedModel], service: Any) -> None:
        Worker.__init__(self, load, Greedy(), OPTIONS, service)


@pytest.fixture
def faulty(small_pair: SmallPair) -> Iterator[Callable[[Any], Drafter]]:
    made: list[Drafter] = []

    def make(service: Any) -> Drafter:
        made.append(Faulty(small_pair.load_draft, service))
        return made[-1]

    yield make
    for one in made:
        one.close()


NONSENSE = {
    "another message": ("ready", 300),
    "too short": (PROPOSAL,),
    "no list": (PROPOSAL, 7, [], 0.0),
    "no number": (PROPOSAL, ["seven"], [], 0.0),
    "negative": (PROPOSAL, [-1], [], 0.0),
    "beyond the vocabulary": (PROPOSAL, [300], [], 0.0),
    "chances of other tokens": (PROPOSAL, [1, 2], [0.5], 0.0),
    "impossible": (PROPOSAL, [1], [0.0], 0.0),
    "surer than sure": (PROPOSAL, [1], [2.0], 0.0),
    "not a number": (PROPOSAL, [1], [math.nan], 0.0),
    "no time": (PROPOSAL, [1, 2], [], "soon"),
    "a time that is none": (PROPOSAL, [1, 2], [], math.nan),
    "empty": (),
    "no message": 7,
    "no name": (7, [1]),
    "a failure without its reason": ("failed",),
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=list(NONSENSE))
def test_nonsense_is_told(faulty: Callable[[Any], Drafter], message: Any) -> None:
    drafter = faulty(Saying(message))
    drafter.wait_ready()
    drafter.request(0, [1, 2], 2)
    with pytest.raises(WorkerError, match=r"\(pid \d+\) gave an answer that makes no sense"):
        drafter.collect()


OVER_300 = "expected a probability distribution over 300 tokens, got one"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ((DISTRIBUTION, "float32", bytes(4 * 299)), f"{OVER_300} over 299"),
        ((DISTRIBUTION, "float33", bytes(4 * 300)), "'torch' has no attribute 'float33'"),
        ((DISTRIBUTION, "float32", b"\xff" * (4 * 300)), f"{OVER_300} with the probability nan"),
        ((DISTRIBUTION, "float32", bytes(4 * 300)), f"{OVER_300} that sums to 0"),
        (
            (DISTRIBUTION, "float32", struct.pack("ff", 1.25, -0.25) + bytes(4 * 298)),
            f"{OVER_300} with the probability -0.25",
        ),
        (
            (DISTRIBUTION, "float32", struct.pack("f", math.inf) * 300),
            f"{OVER_300} that sums to inf",
        ),
        ((DISTRIBUTION, "float32", struct.pack("f", 0.5) * 300), f"{OVER_300} that sums to 150"),
        ((PROPOSAL, [1], []), "expected a distribution ('distribution'), got 'proposal'"),
    ],
    ids=["short", "no dtype", "nan", "zero", "negative", "infinite", "too much", "tokens"],
)
def test_no_distribution_is_told(
    faulty: Callable[[Any], Drafter], message: Message, told: str
) -> None:
    drafter = faulty(Saying(message))
    drafter.wait_ready()
    with pytest.raises(WorkerError, match=f"makes no sense: .*{re.escape(told)}$"):
        drafter.row(3)


@dataclass(frozen=True)
class Publishing:
    """What a draft process does that publishes one message, whatever it is told."""

    message: Message

    def __call__(self, channel: Channel, model: CachedModel, sampler: Sampler) -> None:
        channel.receive()
        channel.send(self.message)
        channel.receive()


@pytest.mark.parametrize(
    "message",
    [
        ("drafted", 0, 3, 300, 0.0, 0.0, 0.0),
        ("drafted", 1, 3, 7, 0.0, 0.0, 0.0),
        ("drafted", 0.0, 3, 7, 0.0, 0.0, 0.0),
        ("drafted", -1, 3, 7, 0.0, 0.0, 0.0),
        ("drafted", 0, "3", 7, 0.0, 0.0, 0.0),
        ("drafted", 0, -1, 7, 0.0, 0.0, 0.0),
        ("drafted", 0, 3, 7, "soon", 0.0, 0.0),
        ("drafted", 0, 3, 7, 0.0, math.nan, 0.0),
        ("drafted", 0, 3, 7, 0.0, 0.0, -math.inf),
        ("drafted", 0, 3, 7, 0.0, 0.0, 0.0, 1.5),
        ("drafted", 0, 3, 7, 0.0, 0.0, 0.0, "sure"),
        ("drafted", 0, 3),
        ("else", 0, 3, 7, 0.0, 0.0, 0.0),
        (),
    ],
    ids=str,
)
def test_nonsense_of_one_that_drafts_ahead_is_told(small_pair: SmallPair, message: Message) -> None:
    forerunner = FaultyForerunner(small_pair.load_draft, Publishing(message))
    try:
        forerunner.wait_ready()
        forerunner.begin([1, 2, 3], 8, 20, 0)
        deadline = time.monotonic() + 10
        with pytest.raises(WorkerError, match="gave an answer that makes no sense"):
            while time.monotonic() < deadline:
                forerunner.read()
    finally:
        forerunner.close()


def mute(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    """Publishes nothing."""
    channel.receive()
    channel.receive()


def test_one_that_publishes_nothing_is_not_waited_for_without_an_end(small_pair: SmallPair) -> None:
    forerunner = FaultyForerunner(small_pair.load_draft, mute)
    try:
        forerunner.wait_ready()
        forerunner.begin([1, 2, 3], 8, 20, 0)
        assert forerunner.read(0.05) == []
        with pytest.raises(WorkerError, match=r"did not answer within 0\.5 s"):
            forerunner.read(math.inf)
    finally:
        forerunner.close()


def unstoppable(channel: Channel, model: CachedModel, sampler: Sampler) -> None:
    """Drafts on for seconds, whatever it is told."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        channel.send(("drafted", 0, 3, 7, 0.0, 0.0, 0.0))


def test_one_that_does_not_stop_is_not_waited_for_without_an_end(small_pair: SmallPair) -> None:
    forerunner = FaultyForerunner(small_pair.load_draft, unstoppable)
    try:
        forerunner.wait_ready()
        forerunner.begin([1, 2, 3], 8, 20, 0)
        with pytest.raises(WorkerError, match=r"did not stop within 0\.5 s"):
            forerunner.pause()
    finally:
        forerunner.close()


class FaultyForerunner(Forerunner):
    """Likewise one that drafts ahead."""

    def __init__(self, load: Callable[[], CachedModel], service: Any) -> None:
        Worker.__init__(self, load, Greedy(), OPTIONS, service)


def test_guesses_cost_speed_and_nothing_else(
    faulty: Callable[[Any], Drafter], small_pair: SmallPair
) -> None:
    @dataclass
    class Guessed(Pearl):
        def _make_drafter(self, models: Models) -> OnRequest:
            return faulty(guessing)

    models = Models(small_pair.load_target(), small_pair.load_draft, OPTIONS)
    outputs = []
    for decoder in (Autoregressive(), Guessed(gamma=4)):
        session = decoder.start(models, Greedy())
        outputs.append(session.decode([5, 6, 7], 40, []).output_ids)
        session.stop()
    assert outputs[0] == outputs[1]


def load_slowly(pair: SmallPair) -> CachedModel:
    model = pair.load_draft()
    run = model.run

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.03)
        return run(*arguments, **options)

    model.run = slow  # type: ignore[method-assign]
    return model


def load_in_little_memory(pair: SmallPair) -> CachedModel:
    model = pair.load_draft()
    run = model.run

    def short(*arguments: Any, **options: Any) -> Any:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, used + 2**20))
        bytearray(2**28)  # what a longer text or a larger model would ask for
        return run(*arguments, **options)

    model.run = short  # type: ignore[method-assign]
    return model


def test_a_slow_one_is_waited_for(small_pair: SmallPair) -> None:
    drafter = Drafter(functools.partial(load_slowly, small_pair), Greedy(), OPTIONS)
    drafter.wait_ready()
    drafter.request(0, [5, 6, 7], 4)
    assert len(drafter.collect().draft) == 4
    drafter.close()


def test_out_of_memory_is_told(small_pair: SmallPair) -> None:
    load = functools.partial(load_in_little_memory, small_pair)
    drafter = Drafter(load, Greedy(), WorkerOptions(answer_timeout=20))
    drafter.wait_ready()
    drafter.request(0, [5, 6, 7], 4)
    with pytest.raises(WorkerError, match="MemoryError"):
        drafter.collect()
    drafter.close()


def test_sending_to_one_that_no_longer_reads_ends(small_pair: SmallPair) -> None:
    forerunner = Forerunner(small_pair.load_draft, Greedy(), OPTIONS)
    forerunner.wait_ready()
    forerunner.begin([1, 2, 3], 4, 100, 0)
    os.kill(forerunner.pid, signal.SIGSTOP)
    with pytest.raises(WorkerError, match=r"did not read what it is sent within 0\.5 s"):
        for position in range(2 * SLOTS):
            forerunner.verify(3 + position, [9])
    forerunner.close()
    assert not running(forerunner.pid)


def test_a_sender_waits_for_room_no_longer_than_it_is_told() -> None:
    ours, theirs = Channel.pair(0.0)
    with pytest.raises(ChannelTimeout):
        for _ in range(SLOTS + 1):
            ours.send(("x",), 0.05)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("kind", ["drafter", "forerunner", "copies"])
def test_one_that_is_asked_nothing_ends_by_itself(small_pair: SmallPair, kind: str) -> None:
    """As where the main process is stopped for good: that it is there is no reason to stay."""
    load, options = small_pair.load_draft, replace(OPTIONS, idle_timeout=0.3)
    silent = r"failed: it was asked nothing for 0\.3 s \(runtime\.idle_timeout\)"
    with contextlib.ExitStack() as stack:
        if kind == "forerunner":
            ahead = stack.enter_context(contextlib.closing(Forerunner(load, Greedy(), options)))
            ahead.wait_ready()
            pids, ask = [ahead.pid], ahead.pause
        else:
            one: Drafter | RelayDrafter = Drafter(load, Greedy(), options)
            if kind == "copies":
                one.close()
                one = RelayDrafter([End(load, options)] * 2, Greedy())
            stack.callback(one.close)
            one.wait_ready()
            one.request(0, [5, 6], 1)
            one.collect()
            pids = one.pids if isinstance(one, RelayDrafter) else [one.pid]
            ask = one.collect
        deadline = time.monotonic() + 60
        while any(map(running, pids)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(WorkerError, match=silent):
            ask()


def test_a_fork_server_that_is_stuck_is_told(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = "multiprocessing.context.ForkServerProcess.start"
    monkeypatch.setattr(stuck, lambda self: time.sleep(9))
    with pytest.raises(WorkerError, match=r"could not be started within 0\.2 s"):
        Drafter(small_pair.load_draft, Greedy(), WorkerOptions(start_timeout=0.2))


def test_a_run_whose_draft_process_is_stopped_ends_in_one_line(
    run_cli: Run, tmp_path: Path
) -> None:
    stopped = (CONF, "decoder=slow_death", "+decoder.how=19", "runtime.answer_timeout=1.0")
    code, _, err = run_cli(*stopped, *SHORT)
    assert code == 2 and "Traceback" not in err, err
    assert "did not answer within 1.0 s" in err
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 2
