"""Frames over a socket whose other end is gone, slow, or gone in the middle."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from pytest_gpuperf.worker.channel import Channel, ClosedError, DeadlineError

Ends = tuple[Channel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), theirs


def test_a_body_larger_than_the_sockets_buffer_arrives_whole(ends: Ends) -> None:
    channel, theirs = ends
    body = bytes(range(256)) * 16_384
    other = Channel(theirs)
    sender = threading.Thread(target=other.send, args=(body,))
    sender.start()
    assert channel.receive(deadline=time.monotonic() + 20) == body
    sender.join()


def test_sending_to_one_that_is_gone(ends: Ends) -> None:
    channel, theirs = ends
    theirs.close()
    with pytest.raises(ClosedError, match="the connection to the measuring process is closed"):
        channel.send(b"hello")


def test_receiving_from_one_that_ends_in_the_middle_of_a_frame(ends: Ends) -> None:
    channel, theirs = ends
    theirs.send(struct.pack(">I", 10) + b"half")
    theirs.close()
    with pytest.raises(ClosedError, match="is closed"):
        channel.receive()


def test_receiving_from_one_that_died_with_our_words_unread(ends: Ends) -> None:
    channel, theirs = ends
    channel.send(b"unread")
    theirs.close()  # the kernel resets the connection
    with pytest.raises(ClosedError) as caught:
        channel.receive()
    assert "Connection reset by peer" in str(caught.value)


def test_one_that_does_not_read_in_time(ends: Ends) -> None:
    channel, _ = ends
    with pytest.raises(DeadlineError, match="did not answer in time"):
        channel.send(bytes(1 << 24), deadline=time.monotonic() + 0.05)
    with pytest.raises(DeadlineError, match="did not answer in time"):
        channel.receive(deadline=time.monotonic() - 1)


def test_a_socket_that_was_ready_and_is_not_any_more_is_asked_again(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, theirs = ends
    waits: list[int] = []
    monkeypatch.setattr(channel, "_wait", lambda event, _: waits.append(event) or time.sleep(0.001))
    later = threading.Timer(0.02, theirs.send, args=(struct.pack(">I", 2) + b"ok",))
    later.start()
    assert channel.receive() == b"ok"
    later.join()
    assert len(waits) > 2
