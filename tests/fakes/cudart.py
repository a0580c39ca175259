"""``cuda.bindings.runtime`` without a GPU: device memory is host memory, streams run at once.

Calls can be made to fail: ``fail["cudaGraphLaunch"] = 700``.
"""

# ruff: noqa: N802, N816, PLW0603 - names are CUDA's

from __future__ import annotations

import ctypes
import time
from types import SimpleNamespace
from typing import Any

cudaStreamNonBlocking = 1
cudaEventDefault, cudaEventBlockingSync = 0, 1
cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

fail: dict[str, int] = {}
memory: dict[int, Any] = {}
capturing: list[Any] | None = None
calls: list[str] = []


def reset() -> None:
    global capturing
    fail.clear()
    memory.clear()
    calls.clear()
    capturing = None


def do(work: Any) -> None:
    """Run ``work``, or keep it for the graph that is being captured."""
    if capturing is None:
        work()
    else:
        capturing.append(work)


def _call(name: str, *values: Any) -> tuple[Any, ...]:
    calls.append(name)
    return (fail[name], *(None for _ in values)) if name in fail else (0, *values)


def _allocate(size: int) -> int:
    block = (ctypes.c_byte * size)()
    memory[ctypes.addressof(block)] = block
    return ctypes.addressof(block)


def cudaGetErrorName(code: int) -> tuple[int, bytes]:
    return 0, {2: b"cudaErrorMemoryAllocation", 100: b"cudaErrorNoDevice", 700: b"cudaErrorIllegalAddress"}.get(
        code, b"?"
    )


def cudaGetErrorString(code: int) -> tuple[int, bytes]:
    return 0, {2: b"out of memory", 100: b"no CUDA-capable device is detected"}.get(code, b"an illegal memory access")


def cudaGetDeviceCount() -> Any:
    return _call("cudaGetDeviceCount", 1)


def cudaSetDevice(index: int) -> Any:
    return _call("cudaSetDevice")


def cudaGetDeviceProperties(index: int) -> Any:
    return _call("cudaGetDeviceProperties", SimpleNamespace(name=b"Fake GPU\0\0", major=8, minor=6))


def cudaDriverGetVersion() -> Any:
    return _call("cudaDriverGetVersion", 13020)


def cudaMalloc(size: int) -> Any:
    return _call("cudaMalloc", _allocate(size))


def cudaHostAlloc(size: int, flags: int) -> Any:
    return _call("cudaHostAlloc", _allocate(size))


def cudaFree(address: int) -> Any:
    del memory[address]
    return _call("cudaFree")


def cudaFreeHost(address: int) -> Any:
    del memory[address]
    return _call("cudaFreeHost")


def cudaMemcpyAsync(target: int, source: int, size: int, kind: int, stream: int) -> Any:
    do(lambda: ctypes.memmove(target, source, size))
    return _call("cudaMemcpyAsync")


def cudaMemcpy(target: int, source: int, size: int, kind: int) -> Any:
    ctypes.memmove(target, source, size)
    return _call("cudaMemcpy")


def cudaEventCreate() -> Any:
    return cudaEventCreateWithFlags(0)


def cudaStreamCreateWithFlags(flags: int) -> Any:
    return _call("cudaStreamCreateWithFlags", 7)


def cudaStreamSynchronize(stream: int) -> Any:
    return _call("cudaStreamSynchronize")


def cudaStreamDestroy(stream: int) -> Any:
    return _call("cudaStreamDestroy")


def cudaEventCreateWithFlags(flags: int) -> Any:
    return _call("cudaEventCreateWithFlags", SimpleNamespace(stamp=0, flags=flags))


def cudaEventRecord(event: Any, stream: int) -> Any:
    event.stamp = time.perf_counter_ns()
    return _call("cudaEventRecord")


def cudaEventSynchronize(event: Any) -> Any:
    return _call("cudaEventSynchronize")


def cudaEventElapsedTime(start: Any, end: Any) -> Any:
    return _call("cudaEventElapsedTime", (end.stamp - start.stamp) / 1e6)


def cudaEventDestroy(event: Any) -> Any:
    return _call("cudaEventDestroy")


def cudaStreamBeginCapture(stream: int, mode: int) -> Any:
    global capturing
    capturing = []
    return _call("cudaStreamBeginCapture")


def cudaStreamEndCapture(stream: int) -> Any:
    global capturing
    captured, capturing = capturing, None
    return _call("cudaStreamEndCapture", captured)


def cudaGraphInstantiate(graph: Any, flags: int) -> Any:
    return _call("cudaGraphInstantiate", graph)


def cudaGraphDestroy(graph: Any) -> Any:
    return _call("cudaGraphDestroy")


def cudaGraphLaunch(graph: Any, stream: int) -> Any:
    if "cudaGraphLaunch" not in fail:
        for work in graph:
            work()
    return _call("cudaGraphLaunch")


def cudaGraphExecDestroy(graph: Any) -> Any:
    return _call("cudaGraphExecDestroy")
