"""Where a call's time goes on a GPU, by TensorFlow's profiler: kernels, copies, and what the host adds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Lines of a GPU's plane that repeat the streams' events under other names.
_DERIVED = ("XLA", "TensorFlow", "Framework", "Source", "Steps", "Launch Stats")
_COPIES = {"MemcpyH2D": "upload", "MemcpyD2H": "fetch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Milliseconds of one call, means over ``calls``.

    Attributes:
        host_ms: by the caller's clock, while the profiler looks on (which costs).
        busy_ms: during which the GPU did anything.
        kernel_ms: during which kernels ran.
        upload_ms, fetch_ms: copies from the host and to it.
        kernels: launched.
    """

    calls: int
    host_ms: float
    busy_ms: float
    kernel_ms: float
    upload_ms: float
    fetch_ms: float
    kernels: float


def split(tf: Any, run: Callable[[], None], calls: int = 20) -> Split:
    """Run a warm call ``calls`` times under the profiler and sum up what the GPU did."""
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        started = time.perf_counter()
        for _ in range(calls):
            run()
        seconds = time.perf_counter() - started
        tf.profiler.experimental.stop()
        events = [event for path in Path(folder).rglob("*.xplane.pb") for event in read(path)]
    kernels = [event for event in events if event[0] == "kernel"]

    def each(kind: str) -> float:
        return union_ms((start, end) for name, start, end in events if name == kind) / calls

    return Split(
        calls=calls,
        host_ms=seconds * 1e3 / calls,
        busy_ms=union_ms((start, end) for _, start, end in events) / calls,
        kernel_ms=each("kernel"),
        upload_ms=each("upload"),
        fetch_ms=each("fetch"),
        kernels=len(kernels) / calls,
    )


def read(path: Path) -> list[tuple[str, float, float]]:
    """Return what ran on the GPUs: ``kernel``, ``upload``, ``fetch`` or ``other``, with start and end in ms."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    found = []
    for plane in space.planes:
        if not plane.name.startswith("/device:GPU"):
            continue
        names = {key: value.name for key, value in plane.event_metadata.items()}
        for line in (line for line in plane.lines if not line.name.startswith(_DERIVED)):
            for event in line.events:
                start = line.timestamp_ns / 1e6 + event.offset_ps / 1e9
                found.append((_kind(names.get(event.metadata_id, "")), start, start + event.duration_ps / 1e9))
    return found


def union_ms(spans: Iterable[tuple[float, float]]) -> float:
    """Return the time that is covered by at least one span, in the spans' unit."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _kind(name: str) -> str:
    for prefix, kind in _COPIES.items():
        if name.startswith(prefix):
            return kind
    return "other" if name.startswith(("Memcpy", "Memset")) else "kernel"
