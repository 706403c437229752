"""Two copies of the draft model draft one text by turns, and are where they are said to be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
import torch
from small_pair import SmallPair, make_model, running

from decoders.decoder import Decoder
from decoders.model.cached_model import CachedModel
from decoders.pearl import Pearl, PearlSession
from decoders.pearl_shared import PearlShared
from decoders.process import relay as relay_module
from decoders.process.channel import ChannelClosed
from decoders.process.drafter import Drafter
from decoders.process.ends import TargetThread, crossing, layers_of, watched
from decoders.process.models import End, Models
from decoders.process.placement import Placement, available_cores
from decoders.process.relay import RelayDrafter
from decoders.process.worker import WorkerError, WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature

TEXT = list(range(20, 40))
PLAIN = WorkerOptions(spin_seconds=0.0, answer_timeout=60)


def make_ends(pair: SmallPair, load_last: Callable[[], CachedModel] | None = None) -> list[End]:
    """Two ends: the first and the last core there is."""
    loads = (pair.load_draft, load_last or pair.load_draft)
    cores = available_cores()[0], available_cores()[-1]
    return [
        End(load, WorkerOptions(Placement((core,)), answer_timeout=60, spin_seconds=0.0))
        for load, core in zip(loads, cores, strict=True)
    ]


def started(pair: SmallPair, decoder: Decoder, sampler: Sampler) -> Any:
    models = Models(pair.load_target(), pair.load_draft, PLAIN, tuple(make_ends(pair)))
    return decoder.start(models, sampler)


@pytest.fixture(scope="module")
def moves() -> list[int]:
    """The ends that the relay has moved the target to."""
    return []


@pytest.fixture(scope="module")
def relay(small_pair: SmallPair, moves: list[int]) -> Iterator[RelayDrafter]:
    made = RelayDrafter(make_ends(small_pair), Greedy(), moves.append)
    made.wait_ready()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(small_pair: SmallPair) -> Iterator[PearlShared]:
    made = started(small_pair, PearlShared("auto"), Greedy())
    yield made
    made.stop()


def drafted_alone(pair: SmallPair, text: list[int], count: int) -> list[int]:
    draft, text = pair.load_draft(), list(text)
    for _ in range(count):
        text.append(int(draft.extend(text, rows=1).argmax()))
    return text[-count:]


def test_a_handover_splits_the_draft_over_both_copies(
    relay: RelayDrafter, moves: list[int], small_pair: SmallPair
) -> None:
    count = 400  # far more than are drafted before the handover comes
    moves.clear()
    relay.begin(0, len(TEXT))
    relay.request(0, TEXT, count)
    relay.handover()
    assert relay.collect().draft.tokens == drafted_alone(small_pair, TEXT, count)
    by = relay.drafted_by[len(TEXT) :]
    assert len(by) == count
    assert by == sorted(by, reverse=True), "the last end's copy begins, the first end's goes on"
    assert by.count(0) > 0
    assert moves == [0, 1]


def test_both_copies_keep_to_the_verified_text(relay: RelayDrafter, small_pair: SmallPair) -> None:
    """After each rejection, wherever it falls, either copy drafts from what is verified."""
    relay.begin(0, len(TEXT))
    text, keep, tail = list(TEXT), 0, list(TEXT)
    for step, accepted in enumerate([2, 0, 5, 6, 1, 0, 4]):
        relay.request(keep, tail, 6, verified=len(text))
        if step % 3:
            relay.handover()
        drafted = relay.collect().draft.tokens
        assert drafted == drafted_alone(small_pair, text, 6)
        text += drafted[:accepted]
        keep, tail = len(text), [7 + step]
        text += tail


class Told:
    """A channel on which all messages have come already."""

    def __init__(self, *messages: Any) -> None:
        self.messages = list(messages)
        self.answers: list[Any] = []

    def receive(self) -> Any:
        if not self.messages:
            raise ChannelClosed
        return self.messages.pop(0)

    def receive_now(self) -> None:
        return None

    def send(self, message: Any) -> None:
        self.answers.append(message)


def test_both_copies_draw_from_one_stream_anew_for_each_prompt(small_pair: SmallPair) -> None:
    """So that what is drawn does not depend on who draws it."""
    sampler, model = Temperature(1.0), small_pair.load_draft()

    def played(messages: list[Any], batons: list[Any]) -> list[list[int]]:
        channel, peer = Told(*messages), Told(*batons)
        with pytest.raises(ChannelClosed):
            relay_module._Runner(model, sampler, cast(Any, channel), cast(Any, peer)).serve()
        return [answer[1] for answer in channel.answers]

    begins = [("begin", 0, len(TEXT)), ("begin", 1, len(TEXT))]
    more = [("request", len(TEXT) + 5, [], 2, 0)]
    alone = played([m for one in begins for m in (one, ("request", 0, TEXT, 5, 0), *more)], [])
    assert alone[0] != alone[2]
    # The other copy drew two, this one the next three; then the other one again, and this one one.
    after = len(TEXT) + 5
    legs = [
        ("leg", 0, list(TEXT), 5, 0, 0, True),
        ("leg", after, [], 2, 0, 5, True),
    ]
    batons = [("baton", alone[i][:n]) for i, n in ((0, 2), (1, 1), (2, 2), (3, 1))]
    drawn = played([m for one in begins for m in (one, *map(deepcopy, legs))], batons)
    assert drawn == [alone[0][2:], alone[1][1:], alone[2][2:], alone[3][1:]]


def test_a_handover_that_comes_too_late_changes_nothing(
    relay: RelayDrafter, small_pair: SmallPair
) -> None:
    """The copy has drafted all, and the main process may know it or not."""
    relay.begin(0, len(TEXT))
    expected = drafted_alone(small_pair, TEXT, 2)
    for _ in range(30):
        relay.request(0, TEXT, 2)
        relay.handover()
        assert relay.collect().draft.tokens == expected
    relay.handover()  # a forward for which nothing was asked
    relay.request(len(TEXT) + 2, [], 1)
    assert relay.collect().draft.tokens == drafted_alone(small_pair, TEXT + expected, 1)


@pytest.mark.parametrize("count", [1, 200])
def test_a_target_may_go_over_more_than_once_in_a_round(
    relay: RelayDrafter, small_pair: SmallPair, count: int
) -> None:
    """As it does where it reads a text in windows."""
    relay.begin(0, len(TEXT))
    for _ in range(2):
        relay.request(0, TEXT, count)
        for _ in range(4):
            relay.handover()
            time.sleep(0.01)
        assert relay.collect().draft.tokens == drafted_alone(small_pair, TEXT, count)


def test_a_copy_may_read_what_the_other_drafted_and_two_tokens_more(shared: Any) -> None:
    """A block of the other's, the target's own token after it, and the last one before it."""
    assert list(type(shared).draft_windows(SimpleNamespace(gamma=4))) == [1, 2, 3, 4, 5, 6]


def test_processes_are_at_the_ends(relay: RelayDrafter) -> None:
    cores = available_cores()
    assert [os.sched_getaffinity(pid) for pid in relay.pids] == [{cores[0]}, {cores[-1]}]


@pytest.mark.parametrize("dead", [0, 1])
def test_a_killed_copy_is_told(small_pair: SmallPair, dead: int) -> None:
    relay = RelayDrafter(make_ends(small_pair), Greedy())
    relay.wait_ready()
    relay.begin(0, len(TEXT))
    relay.request(0, TEXT, 200)
    os.kill(relay.pids[dead], 9)
    with pytest.raises(WorkerError, match=f"pid {relay.pids[dead]}\\) was killed by SIGKILL"):
        relay.handover()
        relay.collect()
    relay.close()


def load_badly() -> CachedModel:
    raise RuntimeError("no such weights")


def test_nothing_is_left_running_after_a_start_that_failed(small_pair: SmallPair) -> None:
    target = small_pair.load_target()
    for load, message in (
        (load_badly, "no such weights"),
        (lambda: target, "pickle|local"),  # cannot be sent to a process: fails in the constructor
    ):
        before = children()
        decoder = PearlShared(3)
        ends = tuple(make_ends(small_pair, load_last=load))
        with pytest.raises(Exception, match=message):
            decoder.start(Models(target, small_pair.load_draft, PLAIN, ends), Greedy())
        assert children() <= before
        assert not layers_of(target)[0]._forward_pre_hooks


def children() -> set[int]:
    """Processes below this one, those of the server that forks them too."""
    return {one.pid for one in psutil.Process().children(recursive=True) if running(one.pid)}


def test_the_target_computes_each_half_at_its_end_and_nowhere_after(shared: PearlShared) -> None:
    home, seen = os.sched_getaffinity(0), []
    layers = layers_of(shared.target)
    hooks = [
        layer.register_forward_hook(lambda *_: seen.append(os.sched_getaffinity(0)))
        for layer in layers
    ]
    shared.decode(TEXT, 10, [])
    cores = available_cores()
    assert seen == [{cores[0]}, {cores[-1]}] * (len(seen) // 2)
    assert os.sched_getaffinity(0) == home
    seen.clear()
    shared.target.rollback(0)
    shared.target.extend(TEXT, rows=1)
    assert seen == [home, home], "the reference is not moved"
    for hook in hooks:
        hook.remove()


def test_what_is_drawn_does_not_depend_on_who_draws(small_pair: SmallPair) -> None:
    """Handing over is a matter of timing; a seed's text is PEARL's all the same."""
    sampler = Temperature(1.0)
    decoders = [started(small_pair, one, sampler) for one in (PearlShared(6), Pearl(6))]
    for seed in range(6):
        ours, theirs = (one.decode(TEXT, 40, [], seed).output_ids for one in decoders)
        assert ours == theirs
    for one in decoders:
        one.stop()


class Wire:
    """An end of a channel: what is to be received, and what was sent."""

    def __init__(self, *messages: Any) -> None:
        self.messages, self.sent = list(messages), list[Any]()

    def receive(self) -> Any:
        return self.messages.pop(0)

    def receive_now(self) -> Any:
        return self.messages.pop(0) if self.messages else None

    def send(self, message: Any) -> None:
        self.sent.append(message)


def test_a_copy_leaves_out_the_random_numbers_that_the_other_used() -> None:
    """Four were drawn before its three; then two more by itself elsewhere, and the baton's two."""
    runner: Any = object.__new__(relay_module._Runner)
    runner._drawn = 0
    runner._channel, runner._peer = Wire(), Wire(("baton", [7, 8]))
    skipped: list[int] = []
    runner._proposer = SimpleNamespace(skip=skipped.append)
    asked: list[Any] = []

    def draft(keep: int, tail: list[int], count: int, verified: int, is_cut: Any) -> Any:
        asked.append((keep, tail, count, verified, is_cut()))
        return "drafted", [9] * count

    runner.draft = draft
    assert runner._run(1, [5], 3, 1, 4, False) == [9, 9, 9]
    assert runner._run(2, [6], 5, 3, 9, True) == [9, 9, 9]
    assert skipped == [4, 9 + 2 - 7] and runner._drawn == 14
    assert asked == [(1, [5], 3, 1, False), (2, [6, 7, 8], 3, 3, False)]
    assert runner._channel.sent == [("drafted", [9, 9, 9])] * 2 and runner._peer.sent == []
    # Told to hand over, it gives the other copy what it has.
    runner._channel = Wire(("hand over",))
    assert runner._run(2, [], 1, 3, 14, False) == [9]
    assert asked[-1] == (2, [], 1, 3, True) and skipped[-1] == 0
    assert runner._peer.sent == [("baton", [9])]


def test_one_end_has_one_draft_model_there(small_pair: SmallPair) -> None:
    decoder = started(small_pair, PearlShared(2, both_ends=False), Greedy())
    assert isinstance(decoder.drafter, Drafter)
    assert os.sched_getaffinity(decoder.drafter.pid) == {available_cores()[0]}
    assert decoder.settings()["both_ends"] is False
    decoder.stop()


def test_nothing_is_left_running(shared: PearlShared) -> None:
    assert isinstance(shared.drafter, RelayDrafter)
    assert all(map(running, shared.drafter.pids))
    assert shared.settings()["both_ends"] is True
    shared.stop()
    assert not any(map(running, shared.drafter.pids))


def test_the_last_end_begins_at_its_first_layer() -> None:
    def at(*names: str) -> int:
        return crossing([torch.device(name) for name in names])

    assert at("cpu", "cpu", "cpu", "cpu") == 2
    assert at("cuda:0", "cuda:0", "cuda:0", "cuda:1") == 3
    assert at("cuda:2", "cuda:1", "cuda:0", "cuda:0") == 2


@pytest.mark.parametrize(
    ("places", "first", "waited"),
    [
        # On one device the last end begins in the middle of the layers,
        ([0, 0, 0, 0], 2, "cuda:0"),
        # on several with the last one's; that before it is waited for.
        ([0, 1, 1, 2], 3, "cuda:1"),
    ],
)
def test_a_target_goes_over_once_all_before_its_last_end_is_computed(
    monkeypatch: pytest.MonkeyPatch, places: list[int], first: int, waited: str
) -> None:
    target, happened = CachedModel(make_model(64, layers=4, seed=0)), list[object]()
    layers = layers_of(target)
    for number, layer in enumerate(layers):
        layer.register_forward_hook(lambda *_, number=number: happened.append(number))
    devices = {id(one): torch.device("cuda", at) for one, at in zip(layers, places, strict=True)}
    monkeypatch.setattr("decoders.process.ends._device", lambda layer: devices[id(layer)])
    monkeypatch.setattr("decoders.process.ends.wait_for", lambda one: happened.append(str(one)))
    with watched(target, lambda: happened.append("begins"), lambda: happened.append("over")):
        target.extend([1, 2, 3], rows=1)
    assert happened == ["begins", *range(first), waited, "over", *range(first, 4)]
    happened.clear()
    target.extend([1, 2, 3, 4], rows=1)
    assert happened == [0, 1, 2, 3], "it is watched no longer"


def test_a_targets_thread_is_moved_where_it_is_not_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """And back to where it came from, if it was moved at all."""
    moved: list[Any] = []
    system = SimpleNamespace(
        sched_getaffinity=lambda process: {0, 1, process},
        sched_setaffinity=lambda process, cores: moved.append((process, cores)),
    )
    monkeypatch.setattr("decoders.process.ends.os", system)
    thread = TargetThread([(3,), (5, 6)])
    with pytest.raises(LookupError), thread.away():
        for end in (0, 0, 1, 1, 0):
            thread.move(end)
        raise LookupError
    assert moved == [(0, (3,)), (0, (5, 6)), (0, (3,)), (0, {0, 1})]
    moved.clear()
    with thread.away():
        thread.move(0)
    assert moved == [(0, (3,)), (0, {0, 1})]
    moved.clear()
    # Layers that are on devices of their own.
    elsewhere = TargetThread([(), ()])
    with elsewhere.away():
        elsewhere.move(0)
        elsewhere.move(1)
    assert moved == []


def test_a_target_without_a_list_of_its_layers_is_told() -> None:
    model: Any = make_model(64, layers=2, seed=0)
    target = CachedModel(model)
    model.config.num_hidden_layers = 3
    with pytest.raises(TypeError, match="LlamaForCausalLM has no list of its 3 layers"):
        layers_of(target)


class Noted:
    """A copy that notes what it is told to do."""

    def __init__(self, name: str, told: list[Any], fixed_shapes: bool = True) -> None:
        self._name, self._told, self.fixed_shapes = name, told, fixed_shapes

    def send(self, message: Any) -> None:
        self._told.append((self._name, message))

    def receive_word(self, word: str) -> None:
        self._told.append((self._name, word))

    def wait_ready(self) -> None:
        self._told.append((self._name, "ready"))

    def close(self) -> None:
        self._told.append((self._name, "closed"))

    def peak_memory_bytes(self) -> int:
        return len(self._name)


def relay_of(*copies: Noted) -> Any:
    made: Any = object.__new__(RelayDrafter)
    made._copies = copies
    return made


def test_copies_are_made_ready_side_by_side() -> None:
    """Both are asked before either is waited for; there may be nothing that one must do."""
    told: list[Any] = []
    relay = relay_of(Noted("first", told), Noted("last", told))
    relay.wait_ready()
    relay.prepare(range(1, 3), 10, 40)
    asked = ("prepare", [1, 2], 10, 40)
    assert told == [
        ("first", "ready"), ("last", "ready"), ("first", asked), ("last", asked),
        ("first", "prepared"), ("last", "prepared"),
    ]  # fmt: skip
    told.clear()
    relay_of(Noted("first", told, fixed_shapes=False), Noted("last", told)).prepare([1, 2], 10, 40)
    assert told == [("last", asked), ("last", "prepared")]
    told.clear()
    relay.close()
    assert told == [("first", "closed"), ("last", "closed")]


def test_memory_of_both_copies_counts() -> None:
    session: Any = object.__new__(PearlSession)
    session.drafter = relay_of(Noted("first", []), Noted("last", []))
    assert session.peak_memory_bytes() == session.drafter.peak_memory_bytes() == 5 + 4


def test_bad_draft_length_is_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        PearlShared(0)
