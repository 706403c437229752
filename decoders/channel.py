"""Messages between two processes of one machine, over a socket, as fast as a spin allows."""

from __future__ import annotations

import pickle
import select
import socket
import struct
from typing import Any

from decoders.stopwatch import clock

_HEADER = struct.Struct("<I")
_CHUNK = 1 << 16


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelTimeout(Exception):
    """The other side did not answer in time; the argument is the limit, in seconds."""


class Channel:
    """One end of a two-way channel for small Python objects.

    A receiver first spins, because waking a sleeping process costs tens of microseconds, then
    sleeps. Pickle is safe here: both ends are processes that this program started itself.

    Parameters
    ----------
    sock
        A connected stream socket.
    spin_seconds
        How long a receiver spins before it sleeps. Worth it only where each process has a core.
    """

    def __init__(self, sock: socket.socket, spin_seconds: float) -> None:
        self._socket = sock
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._buffer = bytearray()
        self._spin_seconds = spin_seconds
        self.bytes_sent = 0
        self.bytes_received = 0

    def send(self, message: Any) -> None:
        """Send one object. Raises :class:`ChannelClosed` where nobody is left to read it."""
        payload = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        frame = memoryview(_HEADER.pack(len(payload)) + payload)
        self.bytes_sent += len(frame)
        while frame:
            try:
                frame = frame[self._socket.send(frame) :]
            except BlockingIOError:
                select.select([], [self._socket], [], 1.0)
            except OSError as error:
                raise ChannelClosed from error

    def receive(self, timeout: float | None = None) -> Any:
        """Receive one object, waiting at most ``timeout`` seconds (``None``: as long as it takes).

        Raises :class:`ChannelClosed` or :class:`ChannelTimeout`.
        """
        start = clock()
        while True:
            message = self._take()
            if message is not None:
                return message[0]
            if self._read():
                continue
            waited = clock() - start
            if timeout is not None and waited > timeout:
                raise ChannelTimeout(timeout)
            if waited > self._spin_seconds:
                self._poll.poll(None if timeout is None else 1000 * (timeout - waited) + 1)

    def receive_now(self) -> Any | None:
        """The next object if it has arrived, else ``None``. Raises :class:`ChannelClosed`."""
        message = self._take()
        if message is None and self._read():
            message = self._take()
        return None if message is None else message[0]

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> bool:
        """Move what has arrived into the buffer; false where nothing has."""
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise ChannelClosed from error
        if not data:
            raise ChannelClosed
        self._buffer += data
        return True

    def _take(self) -> tuple[Any] | None:
        """The first complete message of the buffer, if there is one."""
        if len(self._buffer) < _HEADER.size:
            return None
        (length,) = _HEADER.unpack_from(self._buffer)
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        self.bytes_received += end
        return (pickle.loads(payload),)
