"""Length-prefixed frames over a stream socket, with a deadline on every byte."""

from __future__ import annotations

import select
import socket
import struct
import time

from pytest_gpuperf.errors import WorkerError
from pytest_gpuperf.worker.protocol import HEADER, MAX_FRAME


class ClosedError(WorkerError):
    """The other side is gone. Internal: the parent turns it into the child's cause of death, the child ends."""


class DeadlineError(WorkerError):
    """The other side did not answer in time. Internal: the parent turns it into a description of the hang."""


class Channel:
    """Frames in both directions; one user thread per direction."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    def send(self, body: bytes, *, deadline: float | None = None) -> None:
        """Send one frame; ``deadline`` is on ``time.monotonic``, ``None`` waits for ever.

        Raises:
            ClosedError: the other side is gone.
            DeadlineError: it did not read in time.
        """
        view = memoryview(struct.pack(">I", len(body)) + body)
        while view:
            self._wait(select.POLLOUT, deadline)
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise ClosedError("the connection to the measuring process is closed", got=str(error)) from error

    def receive(self, *, deadline: float | None = None) -> bytearray:
        """Return the body of the next frame.

        Raises:
            ClosedError: the other side is gone, perhaps in the middle of a frame.
            DeadlineError: the frame did not arrive in time.
            WorkerError: the frame is longer than the protocol allows.
        """
        (length,) = struct.unpack(">I", self._read(HEADER, deadline))
        if length > MAX_FRAME:
            raise WorkerError(
                "a frame broke the worker protocol",
                got=f"a length of {length} bytes",
                expected=f"at most {MAX_FRAME} bytes",
            )
        return self._read(length, deadline)

    def close(self) -> None:
        """Close the socket; the other side notices."""
        self._socket.close()

    def _read(self, size: int, deadline: float | None) -> bytearray:
        # Grown as bytes arrive, so that a wrong length costs time and not memory.
        body = bytearray()
        while len(body) < size:
            self._wait(select.POLLIN, deadline)
            try:
                part = self._socket.recv(min(size - len(body), 1 << 20))
            except BlockingIOError:
                continue
            except OSError as error:
                raise ClosedError("the connection to the measuring process is closed", got=str(error)) from error
            if not part:
                raise ClosedError("the connection to the measuring process is closed")
            body += part
        return body

    def _wait(self, event: int, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1e3
        if not poll.poll(left):
            raise DeadlineError("the measuring process did not answer in time")
