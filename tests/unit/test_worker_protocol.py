"""The protocol refuses whatever is not of it, with one kind of error, and carries arrays bit by bit."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_gpuperf.errors import WorkerError
from pytest_gpuperf.records import BatchSpec, Block, EngineSpec, Model
from pytest_gpuperf.worker import protocol as p
from pytest_gpuperf.worker.channel import Channel, ClosedError, DeadlineError

Pair = tuple[socket.socket, socket.socket]
SPEC = EngineSpec(kind="k", model=Model(name="m", source="s", inputs="i"), options={"threads": "2"})
OPEN = p.Open(spec=SPEC, batches=BatchSpec(inputs="i", batch=1, samples=2), cache="/c")


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    "request_",
    [
        OPEN,
        p.Evaluate(),
        p.WarmUp(max_s=1.5),
        p.Measure(seconds=1.0, max_calls=3),
        p.Saturate(in_flight=2, seconds=1.0),
    ],
)
def test_requests_survive_the_journey(request_: p.Request) -> None:
    assert p.decode_request(p.encode(request_)) == request_


@pytest.mark.parametrize(
    "reply",
    [
        p.Timed(block=Block(host_ns=(1, 2**62), device_ns=(), started_ns=5)),
        p.Failed(kind="ConfigError", what="wrong", hint="do"),
        p.Closed(),
    ],
)
def test_replies_survive_the_journey(reply: p.Reply) -> None:
    assert p.decode_reply(p.encode(reply)) == reply


@pytest.mark.parametrize(
    ("frame", "got"),
    [
        ({"type": "Shutdown"}, "Invalid value 'Shutdown'"),
        ({"type": "WarmUp"}, "missing required field `max_s`"),
        ({"type": "WarmUp", "max_s": "soon"}, "Expected `float`, got `str` - at `$.max_s`"),
        ({"type": "WarmUp", "max_s": 1.0, "min_s": 1.0}, "unknown field `min_s`"),
        ({"type": "Closed"}, "Invalid value 'Closed'"),
        (["WarmUp"], "Expected `object`, got `array`"),
    ],
)
def test_a_frame_of_another_shape_is_refused(frame: object, got: str) -> None:
    with pytest.raises(WorkerError) as caught:
        p.decode_request(msgspec.msgpack.encode(frame))
    assert caught.value.what == "a frame broke the worker protocol"
    assert got in (caught.value.got or "")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_else_is_raised(body: bytes) -> None:
    with pytest.raises(WorkerError):
        p.decode_reply(body)


@given(st.integers(min_value=0, max_value=len(p.encode(OPEN)) - 1))
def test_a_truncated_frame_is_refused(size: int) -> None:
    with pytest.raises(WorkerError):
        p.decode_request(p.encode(OPEN)[:size])


@given(
    hnp.arrays(
        dtype=st.sampled_from(["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64", ">f4"]),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    )
)
def test_arrays_survive_the_journey_bit_by_bit(array: np.ndarray) -> None:
    back = p.unpack(p.pack(array))
    assert back.shape == array.shape
    assert back.dtype.name == array.dtype.name
    assert back.astype(array.dtype).tobytes() == array.tobytes()


def test_views_that_are_not_contiguous_arrive_in_order() -> None:
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    np.testing.assert_array_equal(p.unpack(p.pack(array)), array)


@pytest.mark.parametrize("array", [np.array([{}], dtype=object), np.array(["a"]), np.array([1j])])
def test_only_numbers_travel(array: np.ndarray) -> None:
    with pytest.raises(WorkerError, match="only numeric arrays travel"):
        p.pack(array)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (p.Array(dtype="float32", shape=(2, 2), data=b"\0" * 15), "an array broke the worker protocol"),
        (p.Array(dtype="float32", shape=(-1, -4), data=b"\0" * 16), "an array broke the worker protocol"),
        (p.Array(dtype="O", shape=(1,), data=b"\0" * 8), "an array broke the worker protocol"),
        (p.Array(dtype="float33", shape=(1,), data=b"\0" * 8), "an array has an unknown element type"),
    ],
)
def test_an_array_that_lies_about_itself_is_refused(array: p.Array, what: str) -> None:
    with pytest.raises(WorkerError) as caught:
        p.unpack(array)
    assert caught.value.what == what


def test_a_frame_larger_than_the_socket_buffer_arrives_whole(pair: Pair) -> None:
    ours, theirs = pair
    body = bytes(range(256)) * 20_000
    sender = threading.Thread(target=Channel(theirs).send, args=(body,))
    sender.start()
    assert Channel(ours).receive(deadline=time.monotonic() + 10) == body
    sender.join()


def test_a_length_beyond_the_limit_is_refused_before_it_is_read(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(struct.pack(">I", p.MAX_FRAME + 1))
    with pytest.raises(WorkerError) as caught:
        Channel(ours).receive()
    assert caught.value.got == "a length of 2147483649 bytes"


def test_a_connection_that_closes_in_the_middle_of_a_frame_is_closed(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(struct.pack(">I", 10) + b"half")
    theirs.close()
    with pytest.raises(ClosedError):
        Channel(ours).receive()


def test_a_deadline_holds_in_the_middle_of_a_frame(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(struct.pack(">I", 10) + b"half")
    with pytest.raises(DeadlineError):
        Channel(ours).receive(deadline=time.monotonic() + 0.05)


def test_sending_to_nobody_is_closed_too(pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(ClosedError):
        Channel(ours).send(b"x")
