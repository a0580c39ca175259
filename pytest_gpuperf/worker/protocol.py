"""What parent and measuring process say to each other.

Transport
    One Unix stream socket, inherited by the child as the file descriptor that its command line names. Standard output
    and error of the child go to a log file and are no part of the protocol, so native code may print what it likes.

Frame
    ``length`` (4 bytes, unsigned, big-endian) followed by ``length`` bytes of one MessagePack map. Its key ``type``
    names the message; the other keys are the fields of the struct below. Unknown types, missing fields, wrong types,
    and frames of more than :data:`MAX_FRAME` bytes are refused on both sides with :class:`WorkerError`.

Conversation
    The child speaks first: :class:`Hello` with :data:`VERSION`; a parent of another version ends it. From then on the
    parent sends one :data:`Request` at a time, and the child answers with any number of :class:`Progress` frames
    and then exactly one of the other replies: the one that the request's docstring names, or :class:`Failed`. Progress
    extends no deadline. A closed socket ends the child.

Arrays
    Element type, shape and raw C-ordered little-endian bytes. Only booleans, integers and floats: nothing that is
    received can run code.

The version changes with every change of a field's name, type or meaning: both sides come from one installation, or
from two (another interpreter, another git revision), and must notice when they do not fit.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pytest_gpuperf.errors import WorkerError
from pytest_gpuperf.records import Artefact, BatchSpec, Block, EngineInfo, EngineSpec, Steady, Volley

VERSION = 3
MAX_FRAME = 2**31
HEADER = 4

_NUMERIC = "biuf"


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Base of all messages; the class name is the tag."""


class Array(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An array in transit, see the module's docstring."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Open(Message, frozen=True, omit_defaults=True):
    """Make the artefact, load the engine, bind all batches → :class:`Opened`. With a bundle nothing is made.

    ``artefact`` is loaded instead of anything made. Fields that have defaults travel only where they are set, so that
    a side that does not know them yet understands everything else.
    """

    spec: EngineSpec
    batches: BatchSpec
    cache: str
    bundle: str | None = None
    artefact: Artefact | None = None


class Evaluate(Message, frozen=True):
    """Run every batch once → :class:`Evaluated`."""


class WarmUp(Message, frozen=True):
    """Run until latency is steady, or for ``max_s`` seconds → :class:`WarmedUp`."""

    max_s: float


class Measure(Message, frozen=True):
    """Time calls with one in flight, at least one, until ``seconds`` or ``max_calls`` → :class:`Timed`."""

    seconds: float
    max_calls: int
    core: int | None = None


class Saturate(Message, frozen=True):
    """Keep ``in_flight`` calls outstanding for ``seconds`` → :class:`Saturated`."""

    in_flight: int
    seconds: float


class Profile(Message, frozen=True):
    """Time each layer over ``calls`` calls of the first batch → :class:`Profiled`."""

    calls: int


class Close(Message, frozen=True):
    """Free the engine; the process stays → :class:`Closed`."""


class Hello(Message, frozen=True):
    """First words of the child. They never change: versions that do not fit must be able to say so."""

    version: int
    pid: int
    python: str


class Progress(Message, frozen=True):
    """One line about a long step."""

    text: str


class Opened(Message, frozen=True):
    """What the engine really is, and what it is fed: the digest of the inputs, and their labels where there are any.

    ``has_built`` says that the process converted or calibrated the model itself, instead of finding it in the cache.
    """

    info: EngineInfo
    inputs_digest: str
    labels: Array | None = None
    has_built: bool = False


class Evaluated(Message, frozen=True):
    """Outputs over the whole input set by name, each ``(samples, …)``."""

    outputs: dict[str, Array]


class WarmedUp(Message, frozen=True):
    """How warm-up ended."""

    steady: Steady


class Timed(Message, frozen=True):
    """A block of timed calls."""

    block: Block


class Saturated(Message, frozen=True):
    """A throughput run."""

    volley: Volley


class Profiled(Message, frozen=True):
    """Milliseconds of each layer, in order."""

    layers: dict[str, float]


class Closed(Message, frozen=True):
    """The engine is freed."""


class Failed(Message, frozen=True):
    """The request failed. ``kind`` is a class name of :mod:`pytest_gpuperf.errors`, the rest its four parts."""

    kind: str
    what: str
    got: str | None = None
    expected: str | None = None
    hint: str | None = None


Request = Open | Evaluate | WarmUp | Measure | Saturate | Profile | Close
Reply = Hello | Progress | Opened | Evaluated | WarmedUp | Timed | Saturated | Profiled | Closed | Failed

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


def encode(message: Message) -> bytes:
    """Return the body of a frame.

    Raises:
        WorkerError: the body is too large, or a field cannot be encoded.
    """
    try:
        body = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise WorkerError(f"{type(message).__name__} cannot be sent", got=str(error)) from error
    if len(body) > MAX_FRAME:
        raise WorkerError(
            f"{type(message).__name__} is too large to be sent",
            got=f"{len(body)} bytes",
            expected=f"at most {MAX_FRAME} bytes",
            hint="use fewer samples",
        )
    return body


def decode_request(body: bytes | bytearray) -> Request:
    """Read a frame's body as a request; raises :class:`WorkerError`."""
    return _decode(_requests, body)  # type: ignore[no-any-return]


def decode_reply(body: bytes | bytearray) -> Reply:
    """Read a frame's body as a reply; raises :class:`WorkerError`."""
    return _decode(_replies, body)  # type: ignore[no-any-return]


def _decode(decoder: msgspec.msgpack.Decoder[Any], body: bytes | bytearray) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WorkerError(
            "a frame broke the worker protocol", got=str(error), expected=f"a message of protocol version {VERSION}"
        ) from error


def pack(array: NDArray[np.generic]) -> Array:
    """Make an array ready to be sent.

    Raises:
        WorkerError: it holds anything but booleans, integers or floats.
    """
    if array.dtype.kind not in _NUMERIC:
        raise WorkerError(
            "only numeric arrays travel between processes", got=array.dtype.name, expected="bool, integers or floats"
        )
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return Array(dtype=array.dtype.name, shape=array.shape, data=little.tobytes())


def unpack(array: Array) -> NDArray[np.generic]:
    """Return the received array, read-only, after checking that its bytes fit its type and shape.

    Raises:
        WorkerError: unknown element type, negative dimension, or another number of bytes.
    """
    try:
        dtype = np.dtype(array.dtype)
    except TypeError as error:
        raise WorkerError("an array has an unknown element type", got=repr(array.dtype)) from error
    size = math.prod(array.shape) * dtype.itemsize
    if dtype.kind not in _NUMERIC or min(array.shape, default=0) < 0 or size != len(array.data):
        raise WorkerError(
            "an array broke the worker protocol",
            got=f"{len(array.data)} bytes of {array.dtype}",
            expected=f"{size} bytes of a numeric type for shape {array.shape}",
        )
    return np.frombuffer(array.data, dtype=dtype.newbyteorder("<")).reshape(array.shape)
