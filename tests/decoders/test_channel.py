"""Messages through shared memory arrive, whatever their size and whoever sleeps or dies."""

from __future__ import annotations

import itertools
import marshal
import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from decoders.process.channel import (
    _CHECK,
    _SLEEPS,
    ROOM,
    SLOTS,
    Channel,
    ChannelClosed,
    ChannelTimeout,
)

SPIN = 0.0001
CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    left, right = Channel.pair(SPIN)
    yield left, right
    left.close()
    right.close()


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    sent = [("numbers", [1, -2, 1 << 62], 0.1), ("text", "é", True), ("bytes", b"\0\0", None)]
    for message in sent:
        left.send(message)
    assert [right.receive(1.0) for _ in sent] == sent
    assert left.bytes_sent == right.bytes_received == sum(len(marshal.dumps(m, 2)) for m in sent)
    assert left.bytes_received == right.bytes_sent == 0
    assert right.receive_now() is None


def test_both_directions_go_round_many_times(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    for number in range(5 * SLOTS):
        left.send(("there", number))
        right.send(("back", number))
        assert right.receive_now() == ("there", number)
        assert left.receive_now() == ("back", number)


@pytest.mark.parametrize("size", [ROOM - 20, ROOM, 2 * ROOM, 2 * SLOTS * ROOM, 8_000_000])
def test_messages_of_any_size(ends: tuple[Channel, Channel], size: int) -> None:
    """Of more pieces than there are slots, too: the sender waits for room."""
    left, right = ends
    payload = os.urandom(size)
    sender = threading.Thread(target=left.send, args=(("payload", payload),))
    sender.start()
    assert right.receive(20.0) == ("payload", payload)
    sender.join()
    packed = len(marshal.dumps(("payload", payload), 2))
    assert left.bytes_sent == right.bytes_received == packed
    left.send(("next",))
    assert right.receive(1.0) == ("next",)


def test_as_many_messages_as_there_are_slots_wait_for_nobody(
    ends: tuple[Channel, Channel],
) -> None:
    """One more has no room, however long its sender is told to wait, or may wait by itself."""
    left, right = ends
    sent = [("waits", number) for number in range(SLOTS)]
    for message in sent:
        left.send(message, 0.0)
    left.patience = 0.02
    for told, waited in ((None, "0.02"), (0.01, "0.01")):
        with pytest.raises(ChannelTimeout, match=f"^{waited}$"):
            left.send(("one too many",), told)
    assert [right.receive_now() for _ in sent] == sent
    assert right.receive_now() is None
    left.send(("room again",), 0.0)
    assert right.receive_now() == ("room again",)


def test_an_end_can_be_had_by_its_descriptors(ends: tuple[Channel, Channel]) -> None:
    """As by a process that was started with them open: it is on the same side."""
    left, right = ends
    sock, memory = map(os.dup, right.descriptors)
    there = Channel.of_descriptors((sock, memory), 1, SPIN)
    left.send(("there",))
    assert there.receive(1.0) == ("there",)
    there.send(("back",))
    assert left.receive(1.0) == ("back",)
    there.close()


def test_a_piece_that_came_first_is_no_message(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    left._write(b"x" * ROOM, -ROOM)
    assert right.receive_now() is None


def test_a_message_whose_number_came_first_is_not_taken(ends: tuple[Channel, Channel]) -> None:
    """As a processor may show it that does not keep the order of what it writes."""
    left, right = ends
    for round_trip in range(2 * SLOTS):  # in slots that were written before, too
        at = left._writes_at
        left.send(("whole", round_trip))
        start = 8 * at
        whole = bytes(left._our_bytes[start + 8 * _CHECK : start + 80])
        left._our_bytes[start + 8 * _CHECK : start + 80] = bytes(80 - 8 * _CHECK)
        assert right.receive_now() is None
        left._our_bytes[start + 8 * _CHECK : start + 80] = whole
        assert right.receive_now() == ("whole", round_trip)


@pytest.mark.parametrize("off", [1, -1])
def test_a_message_is_not_taken_before_its_check_is_right(
    ends: tuple[Channel, Channel], off: int
) -> None:
    left, right = ends
    at = left._writes_at
    left.send(("message", 1))
    left._ours[at + _CHECK] += off
    assert right.receive_now() is None
    left._ours[at + _CHECK] -= off
    assert right.receive_now() == ("message", 1)


def test_an_old_message_under_a_new_number_is_not_taken(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    for number in range(SLOTS):
        left.send(("old", number))
        right.receive(1.0)
    left._ours[left._writes_at] = SLOTS + 1
    assert right.receive_now() is None


def test_silence_is_a_timeout(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(ChannelTimeout):
        ends[0].receive(0.02)


def test_a_receiver_that_was_stopped_itself_has_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-Z and fg both sides go on, and neither holds that against the other."""
    left, right = Channel.pair(spin_seconds=10.0)
    looks = itertools.count()

    def stopped_for_an_hour() -> float:
        look = next(looks)
        if look == 20:
            right.send(("here I am",))
        return 0.001 * look + (3600 if look > 10 else 0)

    monkeypatch.setattr("decoders.process.channel.clock", stopped_for_an_hour)
    assert left.receive(1.0) == ("here I am",)
    left.close()
    right.close()


def test_a_closed_end_is_noticed_by_both_directions(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    right.send(("last words",))
    right.close()
    assert left.receive(1.0) == ("last words",)
    with pytest.raises(ChannelClosed):
        left.receive(1.0)
    with pytest.raises(ChannelClosed):
        left.send(("x",))


def test_a_closed_end_is_noticed_by_who_never_waits(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    right.close()
    deadline = time.monotonic() + 10
    with pytest.raises(ChannelClosed):
        while time.monotonic() < deadline:
            assert left.receive_now() is None


def test_last_words_are_heard_that_came_between_two_looks(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After that for a message, and before that for the other side, which is gone by then."""
    left, right = ends
    look = left._look

    def gone() -> None:
        right.send(("last words",))
        right.close()
        look()

    monkeypatch.setattr(left, "_look", gone)
    assert left.receive_now() == ("last words",)


def test_what_cannot_be_sent_is_refused(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(ValueError, match="unmarshallable"):
        ends[0].send((object(),))


def _sleep(channel: Channel) -> None:
    channel.send(("here",))
    time.sleep(60)


def _wait(channel: Channel) -> None:
    channel.send(("here",))
    channel.receive()


def _fill(channel: Channel) -> None:
    channel.send(("here",))
    while True:
        channel.send(("more", b"x" * ROOM))


def _half(channel: Channel) -> None:
    channel.send(("here",))
    channel._write(b"x" * ROOM, -ROOM)
    time.sleep(60)


@pytest.mark.parametrize("state", [_sleep, _wait, _fill, _half])
def test_a_killed_process_is_noticed_whatever_it_was_doing(
    state: Callable[[Channel], None],
) -> None:
    ours, theirs = Channel.pair(SPIN)
    process = CONTEXT.Process(target=state, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    assert ours.receive(60.0) == ("here",)
    time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(ChannelClosed):
        while True:
            ours.receive(30.0)
    assert time.monotonic() - start < 20
    process.join()
    ours.close()


def test_a_sender_that_waits_for_room_notices_the_end() -> None:
    ours, theirs = Channel.pair(SPIN)
    closer = threading.Timer(0.1, theirs.close)
    closer.start()
    with pytest.raises(ChannelClosed):
        for _ in range(SLOTS + 1):
            ours.send(("x",))
    closer.join()
    ours.close()


def _echo(channel: Channel, seed: int, spin: float) -> None:
    chance = random.Random(seed)
    channel._spin_seconds = spin
    try:
        while True:
            message = channel.receive()
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.0004)
            channel.send(message)
    except ChannelClosed:
        return


class Line:
    """What an end tells the other one, with something that happens around each change of it."""

    def __init__(self, channel: Channel, before: Callable[[int, int], None]) -> None:
        self._words, self._before = channel._ours, before

    def __getitem__(self, at: int) -> int:
        return self._words[at]

    def __setitem__(self, at: int, value: int) -> None:
        self._before(at, value)
        self._words[at] = value

    def release(self) -> None:
        self._words.release()


class Poll:
    """Sleeps no longer than it takes for something to happen, and notes for how long it would."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = happens
        self.slept: list[float] = []

    def poll(self, milliseconds: float) -> None:
        self.slept.append(milliseconds)
        self._happens()


def woken(channel: Channel) -> int:
    """How many bytes came to wake an end."""
    try:
        return len(channel._socket.recv(100))
    except BlockingIOError:
        return 0


def test_a_sleeper_is_woken_by_a_byte_and_who_is_awake_is_not() -> None:
    left, right = Channel.pair(0.0)
    right.send(("awake",))
    assert left.receive() == ("awake",) and woken(left) == 0

    came: list[int] = []

    def happens() -> None:
        right.send(("good morning",))
        came.append(woken(left))

    left._poll = poll = Poll(happens)  # type: ignore[assignment]
    assert left.receive() == ("good morning",)
    assert came == [1] and poll.slept == [1]
    # It is awake again, and so needs no byte.
    right.send(("still awake",))
    assert left.receive() == ("still awake",) and woken(left) == 0
    for end in (left, right):
        end.close()


def test_bytes_to_wake_up_by_may_be_lost_and_messages_may_not(
    ends: tuple[Channel, Channel],
) -> None:
    """A socket holds so many of them; who is asleep has one too many to wake up from then."""
    left, right = ends
    left._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    right._ours[_SLEEPS] = 1
    for number in range(100):
        left.send(("again", number))
        assert right.receive_now() == ("again", number)
    with pytest.raises(BlockingIOError):
        left._socket.send(b"more")


def test_who_is_gone_is_not_woken(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    right._ours[_SLEEPS] = 1
    right.close()
    with pytest.raises(ChannelClosed):
        left.send(("anybody there",))


@pytest.mark.parametrize("when", ["before it says that it sleeps", "after it said so"])
def test_who_falls_asleep_while_a_message_is_written_looks_once_more(when: str) -> None:
    """Written after the last look at the place and before the sleep: it is not slept through."""
    left, right = Channel.pair(0.0)

    def write(at: int, value: int) -> None:
        if (at, value) == (_SLEEPS, 1):
            if when == "after it said so":
                left._ours._words[_SLEEPS] = 1  # type: ignore[attr-defined]
            right.send(("just now",))

    left._ours = Line(left, write)  # type: ignore[assignment]
    left._views[0] = left._ours  # type: ignore[call-overload]

    def never() -> None:
        raise AssertionError("it slept, with a message there")

    left._poll = Poll(never)  # type: ignore[assignment]
    assert left.receive() == ("just now",)
    assert woken(left) == 0, "what it was woken by is taken away"
    for end in (left, right):
        end.close()


def test_the_first_sleep_is_short_and_none_is_longer_than_may_be_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a processor that shows neither side the other's word in time, a millisecond is lost. Of
    2 s that may be waited 1.25 are over after the first sleep: 750 ms are left, and one more."""
    left, right = Channel.pair(0.0)
    now = iter([0.0, 0.25, 0.25, 1.25, 1.25, 2.5])
    monkeypatch.setattr("decoders.process.channel.clock", lambda: next(now))
    left._poll = poll = Poll(lambda: None)  # type: ignore[assignment]
    with pytest.raises(ChannelTimeout):
        left.receive(2.0)
    assert poll.slept == [1, 751]
    for end in (left, right):
        end.close()


@pytest.mark.nightly  # A machine that is busy may take longer than the sleep that is looked for.
@pytest.mark.parametrize("spin", [0.0, 0.0002])
def test_no_one_sleeps_through_a_message(spin: float) -> None:
    """Each side falls asleep about when the other writes, 2000 times, and is woken each time."""
    ours, theirs = Channel.pair(spin)
    process = CONTEXT.Process(target=_echo, args=(theirs, 1, spin), daemon=True)
    process.start()
    theirs.close()
    chance = random.Random(0)
    for number in range(2000):
        ours.send(("to and fro", number, [number] * chance.randrange(40)))
        if chance.random() < 0.3:
            time.sleep(chance.random() * 0.0004)
        # The second sleep is longer than this, so a wake-up that was lost would show.
        answer = ours.receive(0.9)
        assert answer[1] == number
    ours.close()
    process.join(10)
    assert process.exitcode == 0


def test_the_memory_has_no_name_and_goes_with_its_ends() -> None:
    before, shared = set(os.listdir("/proc/self/fd")), set(os.listdir("/dev/shm"))
    left, right = Channel.pair(SPIN)
    assert set(os.listdir("/dev/shm")) == shared
    for end in (left, right, left):
        end.close()
    assert set(os.listdir("/proc/self/fd")) == before
