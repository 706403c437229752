"""Messages between two processes of one machine: through memory that both see."""

from __future__ import annotations

import marshal
import mmap
import os
import select
import socket
from multiprocessing.reduction import DupFd
from typing import Any

from decoders.process.clock import clock

#: What is sent: a name and values of Python's own types (numbers, strings, bytes, lists of them).
Message = tuple[Any, ...]

# Each side writes one half of the memory, in words of 8 bytes: the line that tells the other side
# how it is doing, then slots in turn, of three words and a piece of a message.
_WORD = 8
_TAKEN, _SLEEPS = 0, 1
_LINE = 8
SLOTS = 128
_SLOT = 256
_NUMBER, _SIZE, _CHECK, _PIECE = 0, 1, 2, 3
#: Bytes of a message that one slot holds.
ROOM = _WORD * (_SLOT - _PIECE)
_HALF = _LINE + SLOTS * _SLOT
#: Of what is largest among primes that Python divides by in one step.
_PRIME = (1 << 30) - 35
#: A version that doesn't look for objects that occur twice.
_MARSHAL = 2
#: Seconds between looks whether the other side is still there, by who never waits for it.
_LOOK_SECONDS = 0.05
#: Seconds that pass between two looks only if this process was stopped itself.
_STOPPED = 5.0
#: Milliseconds of the first sleep: a message that is written the moment its receiver falls asleep
#: may be seen by neither of them. Of later ones, which nothing depends on.
_DOZE, _SLEEP = 1, 1000


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelTimeout(Exception):
    """The other side did not answer in time; the argument is the limit, in seconds."""


class Channel:
    """One end of a two-way channel; :meth:`pair` makes both.

    After a forward the processor's caches hold weights, not code, so what counts is how little runs
    for a message: it is packed, copied into memory that both processes have mapped, and a number
    is written beside it, for which the other side looks. No call to the system is made, but to wake
    a receiver that sleeps, by a byte over a socket; the socket's end is also how each side
    notices that the other is gone. A receiver first spins, because waking costs tens of
    microseconds.

    Where a processor may show the number before what was written earlier, a checksum tells, and the
    receiver looks again. The memory has no name and is freed with the last process that has it.

    An end can be handed to a process when that is started: by multiprocessing, or as the file
    descriptors it consists of.

    Parameters
    ----------
    sock
        A connected stream socket.
    memory
        File descriptor of the shared memory; the channel closes it.
    side
        Which half this end writes, 0 or 1.
    spin_seconds
        How long a receiver spins before it sleeps. Worth it only where each process has a core.
    """

    def __init__(self, sock: socket.socket, memory: int, side: int, spin_seconds: float) -> None:
        self._socket, self._memory, self._side = sock, memory, side
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._spin_seconds = spin_seconds
        self._map = mmap.mmap(memory, 2 * _HALF * _WORD)
        whole = memoryview(self._map)
        halves = [whole[at : at + _HALF * _WORD] for at in (0, _HALF * _WORD)]
        self._our_bytes, self._their_bytes = halves[side], halves[1 - side]
        self._ours, self._theirs = self._our_bytes.cast("q"), self._their_bytes.cast("q")
        self._views = [self._ours, self._theirs, *halves, whole]
        #: Number and place of the next piece to write, and of the next one to read; from 1 on,
        #: since what was never written is 0.
        self._writes = self._reads = 1
        self._writes_at = self._reads_at = _LINE
        self._pieces: list[bytes] = []
        self._looked = 0.0
        self._gone = False
        #: Seconds that this end waits where it is not told how long; ``None``: as long as it takes.
        self.patience: float | None = None
        self.bytes_sent = 0
        self.bytes_received = 0

    @classmethod
    def pair(cls, spin_seconds: float) -> tuple[Channel, Channel]:
        """Both ends of a new channel."""
        memory = os.memfd_create("channel")
        os.ftruncate(memory, 2 * _HALF * _WORD)
        first, second = socket.socketpair()
        return (
            cls(first, memory, 0, spin_seconds),
            cls(second, os.dup(memory), 1, spin_seconds),
        )

    @classmethod
    def of_descriptors(
        cls, descriptors: tuple[int, int], side: int, spin_seconds: float
    ) -> Channel:
        """The end that a process was handed as file descriptors, its ``descriptors`` where made."""
        sock, memory = descriptors
        return cls(socket.socket(fileno=sock), memory, side, spin_seconds)

    @property
    def descriptors(self) -> tuple[int, int]:
        """File descriptors of this end, for a process that is started with them open."""
        return self._socket.fileno(), self._memory

    def __reduce__(self) -> tuple[Any, ...]:
        memory = DupFd(self._memory)
        return _handed_over, (self._socket, memory, self._side, self._spin_seconds)

    def send(self, message: Message, timeout: float | None = None) -> None:
        """Send a message, waiting for room if the other side doesn't read.

        At most ``timeout`` seconds for each piece (``None``: ``patience``). Raises
        :class:`ChannelTimeout`, or :class:`ChannelClosed` where it is known that nobody is left to
        read.
        """
        packed = marshal.dumps(message, _MARSHAL)
        while len(packed) > ROOM:
            self._write(packed[:ROOM], -ROOM, timeout)
            packed = packed[ROOM:]
        self._write(packed, len(packed), timeout)

    def receive(self, timeout: float | None = None) -> Message:
        """Receive a message, waiting at most ``timeout`` seconds (``None``: ``patience``).

        The time for which this process was stopped itself, as by Ctrl-Z, does not count.

        Raises :class:`ChannelClosed` or :class:`ChannelTimeout`.
        """
        message = self._take()
        if message is not None:
            return message
        timeout = self.patience if timeout is None else timeout
        start = before = clock()
        sleep = _DOZE
        while True:
            message = self._take()
            if message is not None:
                return message
            if self._gone:
                raise ChannelClosed
            now = clock()
            if now - before > _STOPPED:
                start += now - before
            before = now
            waited = now - start
            if timeout is not None and waited > timeout:
                raise ChannelTimeout(timeout)
            if waited > self._spin_seconds:
                left = sleep if timeout is None else 1000 * (timeout - waited) + 1
                self._sleep(min(sleep, left))
                sleep = _SLEEP

    def receive_now(self) -> Message | None:
        """The next message if it has arrived, else ``None``. Raises :class:`ChannelClosed`."""
        message = self._take()
        if message is None and clock() - self._looked > _LOOK_SECONDS:
            self._look()
            # What was sent before it went still counts.
            message = self._take()
            if message is None and self._gone:
                raise ChannelClosed
        return message

    def close(self) -> None:
        """Let the other side know that this one is gone. May be called more than once."""
        self._gone = True
        self._socket.close()
        for view in self._views:
            view.release()
        self._map.close()
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _write(self, piece: bytes, size: int, timeout: float | None = None) -> None:
        """Write a piece; its negative size where more of the message follows."""
        if self._gone:
            raise ChannelClosed
        number, at, ours, theirs = self._writes, self._writes_at, self._ours, self._theirs
        if number - theirs[_TAKEN] > SLOTS:
            self._await_room(timeout)
        start = _WORD * (at + _PIECE)
        self._our_bytes[start : start + len(piece)] = piece
        ours[at + _SIZE] = size
        ours[at + _CHECK] = _check(number, piece)
        ours[at] = number
        self._writes = number + 1
        self._writes_at = _place(number + 1)
        self.bytes_sent += len(piece)
        if theirs[_SLEEPS]:
            self._wake()

    def _take(self) -> Message | None:
        """The next message, if all of it is there."""
        number, at, theirs = self._reads, self._reads_at, self._theirs
        if theirs[at] != number:
            return None
        size = theirs[at + _SIZE]
        start = _WORD * (at + _PIECE)
        piece = bytes(self._their_bytes[start : start + min(abs(size), ROOM)])
        if theirs[at + _CHECK] != _check(number, piece):
            return None
        self._ours[_TAKEN] = number
        self._reads = number + 1
        self._reads_at = _place(number + 1)
        self.bytes_received += len(piece)
        if size < 0:
            self._pieces.append(piece)
            return self._take()
        if self._pieces:
            piece = b"".join([*self._pieces, piece])
            self._pieces.clear()
        return marshal.loads(piece)  # noqa: S302 (no other process has the memory)

    def _await_room(self, timeout: float | None) -> None:
        timeout = self.patience if timeout is None else timeout
        start = clock()
        while self._writes - self._theirs[_TAKEN] > SLOTS:
            self._poll.poll(_DOZE)
            self._look()
            if self._gone:
                raise ChannelClosed
            if timeout is not None and clock() - start > timeout:
                raise ChannelTimeout(timeout)

    def _sleep(self, milliseconds: float) -> None:
        """Sleep until woken, or for so long."""
        self._ours[_SLEEPS] = 1
        if self._theirs[self._reads_at] != self._reads:
            self._poll.poll(milliseconds)
        self._ours[_SLEEPS] = 0
        self._look()

    def _wake(self) -> None:
        try:
            self._socket.send(b"\0")
        except BlockingIOError:
            pass  # It has more than enough to wake up from.
        except OSError as error:
            self._gone = True
            raise ChannelClosed from error

    def _look(self) -> None:
        """Look whether the other side is still there; what it was woken by is taken away."""
        self._looked = clock()
        try:
            self._gone = not self._socket.recv(ROOM)
        except BlockingIOError:
            pass
        except OSError:
            self._gone = True


def _place(number: int) -> int:
    """Where in a half the piece with this number is."""
    return _LINE + (number - 1) % SLOTS * _SLOT


def _check(number: int, piece: bytes) -> int:
    return (int.from_bytes(piece, "big") + number) % _PRIME


def _handed_over(sock: socket.socket, memory: Any, side: int, spin_seconds: float) -> Channel:
    return Channel(sock, memory.detach(), side, spin_seconds)
