from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from decoders.channel import Channel, ChannelClosed, ChannelTimeout


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    left, right = (Channel(sock, spin_seconds=0.0001) for sock in socket.socketpair())
    yield left, right
    left.close()
    right.close()


def test_messages_arrive_whole_and_in_order(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    for message in ([1, 2], "text", {"a": 1.5}):
        left.send(message)
    assert [right.receive(1.0) for _ in range(3)] == [[1, 2], "text", {"a": 1.5}]
    assert left.bytes_sent == right.bytes_received > 0


def test_message_larger_than_the_socket_buffer(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    payload = bytes(8_000_000)
    sender = threading.Thread(target=left.send, args=(payload,))
    sender.start()
    assert right.receive(20.0) == payload
    sender.join()


def test_silence_is_a_timeout(ends: tuple[Channel, Channel]) -> None:
    with pytest.raises(ChannelTimeout):
        ends[0].receive(0.02)


def test_a_closed_end_is_noticed_by_both_directions(ends: tuple[Channel, Channel]) -> None:
    left, right = ends
    right.close()
    with pytest.raises(ChannelClosed):
        left.receive(1.0)
    with pytest.raises(ChannelClosed):
        left.send("x")
