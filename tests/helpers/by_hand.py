"""Decoders by a clock made by hand: only forwards take time, and each takes a known time.

A draft process runs in a thread, and the processes take turns: whoever's own time is least goes on
(the main process first). So what happens does not depend on the machine, and what a round should
say can be worked out on paper.
"""

from __future__ import annotations

import functools
import marshal
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_pair import make_model

from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.process import worker as draft_process
from decoders.process.channel import Channel, ChannelClosed, ChannelTimeout
from decoders.process.models import End, Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.session import Session

PROMPT = [1, 2]
VOCAB = 64
#: Seconds that a message is under way between two processes.
CROSSING = 0.5
#: From so many seconds on, a limit is one of real time: nothing by this clock takes as long.
_REAL = 100.0


def target_seconds(tokens: int) -> float:
    """A target forward that reads so many tokens: 11 s for one, and 1 s for each more."""
    return 10.0 + tokens


def draft_seconds(tokens: int) -> float:
    """A draft forward: 3 s for one token, and 1 s for each more."""
    return 2.0 + tokens


class Side:
    """A process and its own time. ``due`` is when it can go on: not before a message it awaits."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.due: Callable[[], float] = lambda: self.now


class World:
    """All processes of a decoder."""

    def __init__(self) -> None:
        self.main = Side(0.0)
        self._sides = [self.main]
        self._turn = threading.Condition()
        self._local = threading.local()

    @property
    def me(self) -> Side:
        side: Side = getattr(self._local, "side", self.main)
        return side

    def clock(self) -> float:
        return self.me.now

    def spend(self, seconds: float) -> None:
        self.me.now += seconds

    def take_turn(self, due: Callable[[], float] | None = None) -> None:
        """Wait until nobody's time is less than this process's own."""
        me = self.me
        with self._turn:
            me.due = due or me.due
            self._turn.notify_all()
            if not self._turn.wait_for(lambda: self._next() is me, timeout=30):
                raise AssertionError("all processes wait for each other")
            me.now = me.due()
            me.due = lambda: me.now

    def _next(self) -> Side | None:
        due, number = min((side.due(), number) for number, side in enumerate(self._sides))
        return self._sides[number] if due < math.inf else None

    def begin(self) -> Side:
        side = Side(self.main.now)
        self._sides.append(side)
        return side

    def enter(self, side: Side) -> None:
        self._local.side = side

    def leave(self, side: Side) -> None:
        with self._turn:
            self._sides.remove(side)
            self._turn.notify_all()

    def step_aside(self, wait: Callable[[], None]) -> None:
        """Let the others go on as they like in ``wait``."""
        me = self.me
        with self._turn:
            me.due = lambda: math.inf
            self._turn.notify_all()
        wait()
        me.due = lambda: me.now

    def pair(self) -> tuple[Wire, Wire]:
        """Of a message from the first end 1 byte is counted, from the second 100."""
        ends = Wire(self, 1), Wire(self, 100)
        ends[0].other, ends[1].other = ends[1], ends[0]
        return ends

    def process(self, **arguments: Any) -> Process:
        return Process(self, **arguments)


class Wire:
    """An end of a channel."""

    other: Wire

    def __init__(self, world: World, size: int) -> None:
        self._world = world
        self._size = size
        self._inbox: list[tuple[float, bytes]] = []
        self._owner: Side | None = None
        self._closed = False
        self.patience: float | None = None
        self.bytes_sent = self.bytes_received = 0

    def send(self, message: Any, timeout: float | None = None) -> None:
        self._owner = self._world.me
        self._world.take_turn()
        if self.other._closed:
            raise ChannelClosed
        self.bytes_sent += self._size
        arrival = self._world.me.now + CROSSING
        self.other._inbox.append((arrival, marshal.dumps(message, 2)))

    def receive(self, timeout: float | None = None) -> Any:
        me = self._owner = self._world.me
        now = me.now
        # What is waited for in a decoder's own time; other limits are those of real time.
        until = now + timeout if timeout is not None and timeout < _REAL else math.inf

        def due() -> float:
            if self._inbox:
                return min(until, max(now, self._inbox[0][0]))
            return now if self.other._closed else until

        self._world.take_turn(due)
        if not self._inbox or self._inbox[0][0] > me.now:
            if self.other._closed:
                raise ChannelClosed
            raise ChannelTimeout(timeout)
        return self._take()

    def receive_now(self) -> Any | None:
        self._owner = self._world.me
        self._world.take_turn()
        return self._take() if self._inbox and self._inbox[0][0] <= self._world.me.now else None

    def close(self) -> None:
        # A process closes its copies of ends that it has handed on, which closes nothing.
        self._closed = self._closed or self._owner is self._world.me

    def _take(self) -> Any:
        self.bytes_received += self.other._size
        return marshal.loads(self._inbox.pop(0)[1])  # noqa: S302 (it was sent here)


class Process:
    """Takes the place of a process of ``multiprocessing``."""

    exitcode = 0

    def __init__(self, world: World, target: Any, args: Any, **_: Any) -> None:
        self.pid = os.getpid()
        self._world = world
        self._body = functools.partial(target, *args)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._side = self._world.begin()
        self._thread.start()

    def _run(self) -> None:
        self._world.enter(self._side)
        try:
            self._body()
        finally:
            self._world.leave(self._side)

    def join(self, timeout: float) -> None:
        self._world.step_aside(lambda: self._thread.join(timeout))

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def kill(self) -> None:
        raise AssertionError("a process did not end by itself")


class Scripted(CachedModel):
    """A small model that says at each position of the text what it is told to, however it came
    there. A half of the time of its forwards goes by in each of its two layers.

    ``doubts``: how many other choices it has. The likeliest is what :func:`wrong_at` changed, 30
    less than what it says; the next is 29 less, and so on.
    """

    def __init__(
        self,
        world: World,
        says: Sequence[int],
        seconds: Callable[[int], float],
        prompt: int,
        doubts: int = 0,
    ) -> None:
        super().__init__(make_model(VOCAB, layers=2, seed=0))
        self._doubts = doubts
        self._says = [0] * prompt + list(says)
        for layer in self.model.model.layers:
            layer.register_forward_hook(
                lambda _, inputs, output: world.spend(seconds(inputs[0].shape[1]) / 2)
            )

    def predictions(self, logits: torch.Tensor, read: Sequence[tuple[int, int]]) -> torch.Tensor:
        rows = torch.full((len(read), VOCAB), -torch.inf)
        for row, (position, _) in zip(rows, read, strict=True):
            said = self._says[min(position + 1, len(self._says) - 1)]
            row[said] = 0.0
            for other in range(self._doubts):
                row[(said - 30 + other) % VOCAB] = -1.0 - other
        return rows


def wrong_at(text: Sequence[int], *positions: int) -> list[int]:
    """A text with other tokens at some positions: 30 more than there were."""
    return [token + 30 if i in positions else token for i, token in enumerate(text)]


class Decode:
    """Decodes the same text twice, which must go the same way, and gives the second generation.

    Once, where the decoder ``learns`` from one text for the next.

    ``session`` is that of the decoder that was started last.
    """

    session: Session

    def __init__(self, world: World) -> None:
        self._world = world
        self._started: list[Session] = []

    def __call__(
        self,
        decoder: Decoder,
        text: Sequence[int],
        draft: Sequence[int],
        limit: int | None = None,
        stop_ids: Sequence[int] = (),
        sampler: Sampler | None = None,
        ends: int = 0,
        prompt: Sequence[int] = PROMPT,
        learns: bool = False,
        doubts: int = 0,
    ) -> Generation:
        def load_draft() -> CachedModel:
            return Scripted(self._world, draft, draft_seconds, len(prompt), doubts)

        target = Scripted(self._world, text, target_seconds, len(prompt))
        options = WorkerOptions()
        shared = tuple(End(load_draft, options) for _ in range(ends))
        models = Models(target, load_draft, options, shared)
        self.session = decoder.start(models, sampler or Greedy())
        self._started.append(self.session)
        first = self.session.decode(prompt, limit or len(text), stop_ids)
        if learns:
            return first
        # What a draft process did between prompts would show in the next one's rounds.
        self._world.spend(1000.0)
        again = self.session.decode(prompt, limit or len(text), stop_ids)
        assert first == again, "a prompt's rounds depend on the prompts before it"
        return again

    def stop(self) -> None:
        for session in self._started:
            session.stop()


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Decode]:
    """Decodes by a clock made by hand."""
    world = World()
    for name, module in list(sys.modules.items()):
        if name.startswith("decoders.") and hasattr(module, "clock"):
            monkeypatch.setattr(module, "clock", world.clock)
    context = SimpleNamespace(Process=world.process)
    monkeypatch.setattr(draft_process.multiprocessing, "get_context", lambda method: context)
    # Only a main thread may be told what to do at a signal.
    monkeypatch.setattr(
        draft_process, "signal", SimpleNamespace(**vars(signal) | {"signal": _ignore})
    )
    monkeypatch.setattr(Channel, "pair", lambda spin: world.pair())
    decode = Decode(world)
    yield decode
    decode.stop()


def _ignore(*_: Any) -> None:
    """Does nothing."""
