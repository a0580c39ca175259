"""CUDA calls through ``cuda-bindings``, every one checked."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_gpuperf.errors import ConfigError, EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXTRA = "pip install 'pytest-gpuperf[gpu]'"
NO_GPU = "nvidia-smi must list a GPU; without one, use the engine 'onnxruntime'"


def api() -> Any:
    """Return the CUDA runtime's Python module.

    Raises:
        ConfigError: ``cuda-bindings`` is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise ConfigError("cuda-bindings is not installed", got=str(error), hint=EXTRA) from error
    return runtime


def check(result: tuple[Any, ...], what: str) -> Any:
    """Return a CUDA call's value, or raise.

    Args:
        result: what ``cuda-bindings`` returned: error code, then values.
        what: the call in words, for the message.

    Raises:
        EngineError: the call failed; the message holds CUDA's name and text of the error.
    """
    code, *values = result
    if code != 0:
        raise EngineError(f"CUDA failed to {what}", got=describe(code))
    return values[0] if len(values) == 1 else tuple(values)


def describe(code: Any) -> str:
    """Return CUDA's name and text of an error code."""
    runtime = api()
    _, name = runtime.cudaGetErrorName(code)
    _, text = runtime.cudaGetErrorString(code)
    return f"{name.decode()} ({int(code)}): {text.decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU as the CUDA runtime sees it."""

    index: int
    name: str
    compute_capability: str
    driver: str


def device(index: int) -> Device:
    """Make GPU ``index`` the current one of this thread, and describe it.

    Raises:
        ConfigError: there is no such GPU.
    """
    runtime = api()
    try:
        code, count = runtime.cudaGetDeviceCount()
    except RuntimeError as error:  # the driver's library is missing
        raise ConfigError("there is no GPU", got=str(error), expected="a GPU and its driver", hint=NO_GPU) from error
    if code != 0 or not count:
        raise ConfigError("there is no GPU", got=describe(code), expected="a GPU and its driver", hint=NO_GPU)
    if not 0 <= index < count:
        raise ConfigError(f"there is no GPU {index}", got=f"{count} GPUs", expected=f"0 … {count - 1}")
    check(runtime.cudaSetDevice(index), f"use GPU {index}")
    properties = check(runtime.cudaGetDeviceProperties(index), "read the GPU's properties")
    version = check(runtime.cudaDriverGetVersion(), "read the driver's version")
    return Device(
        index=index,
        name=properties.name.split(b"\0")[0].decode(),
        compute_capability=f"{properties.major}.{properties.minor}",
        driver=f"{version // 1000}.{version % 1000 // 10}",
    )


class Buffer:
    """Device memory of one tensor, and pinned host memory of the same size."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        import numpy as np

        self._api = api()
        kind = np.dtype(dtype)
        size = max(1, int(np.prod(shape))) * kind.itemsize
        self.size = size
        self.device = int(check(self._api.cudaMalloc(size), f"allocate {size} bytes on the GPU"))
        self._pinned = int(check(self._api.cudaHostAlloc(size, 0), f"pin {size} bytes of host memory"))
        view = memoryview((ctypes.c_byte * size).from_address(self._pinned))
        self.host: NDArray[np.generic] = np.frombuffer(view, dtype=kind)[: int(np.prod(shape))].reshape(shape)

    def upload(self, stream: int) -> None:
        """Copy host → device on ``stream``."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        check(self._api.cudaMemcpyAsync(self.device, self._pinned, self.size, kind, stream), "copy to the GPU")

    def download(self, stream: int) -> None:
        """Copy device → host on ``stream``."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(self._api.cudaMemcpyAsync(self._pinned, self.device, self.size, kind, stream), "copy from the GPU")

    def free(self) -> None:
        """Give both memories back."""
        check(self._api.cudaFree(self.device), "free GPU memory")
        check(self._api.cudaFreeHost(self._pinned), "free pinned memory")


class Stream:
    """A stream that does not wait for the default stream."""

    def __init__(self) -> None:
        self._api = api()
        flag = self._api.cudaStreamNonBlocking
        self._stream = check(self._api.cudaStreamCreateWithFlags(flag), "create a stream")
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        """Wait until everything on the stream is done."""
        check(self._api.cudaStreamSynchronize(self._stream), "wait for a stream")

    def free(self) -> None:
        """Destroy the stream."""
        check(self._api.cudaStreamDestroy(self._stream), "destroy a stream")


class Event:
    """A time stamp on a stream; ``blocking`` decides whether waiting for it sleeps or spins."""

    def __init__(self, *, blocking: bool) -> None:
        self._api = api()
        flag = self._api.cudaEventBlockingSync if blocking else self._api.cudaEventDefault
        self._event = check(self._api.cudaEventCreateWithFlags(flag), "create an event")

    def record(self, stream: int) -> None:
        """Stamp when everything before it on ``stream`` is done."""
        (code,) = self._api.cudaEventRecord(self._event, stream)
        if code != 0:
            check((code,), "record an event")

    def wait(self) -> None:
        """Wait until the stamp is made."""
        (code,) = self._api.cudaEventSynchronize(self._event)
        if code != 0:
            check((code,), "run the engine")

    def ns_since(self, start: Event) -> int:
        """Return nanoseconds since ``start``'s stamp; CUDA resolves about half a microsecond."""
        return int(check(self._api.cudaEventElapsedTime(start._event, self._event), "read the clock") * 1e6 + 0.5)

    def free(self) -> None:
        """Destroy the event."""
        check(self._api.cudaEventDestroy(self._event), "destroy an event")


class Graph:
    """What was put on a stream between ``begin`` and the constructor, ready to be launched as one."""

    def __init__(self, stream: Stream) -> None:
        self._api = api()
        graph = check(self._api.cudaStreamEndCapture(stream.handle), "capture a CUDA graph")
        self._exec = check(self._api.cudaGraphInstantiate(graph, 0), "instantiate a CUDA graph")
        check(self._api.cudaGraphDestroy(graph), "destroy a CUDA graph")

    @staticmethod
    def begin(stream: Stream) -> None:
        """Start to capture what this thread puts on ``stream``."""
        runtime = api()
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        check(runtime.cudaStreamBeginCapture(stream.handle, mode), "begin a CUDA graph's capture")

    @staticmethod
    def abandon(stream: Stream) -> None:
        """End a capture that failed; the failure itself is what matters."""
        api().cudaStreamEndCapture(stream.handle)

    def launch(self, stream: int) -> None:
        """Put the whole graph on ``stream``."""
        (code,) = self._api.cudaGraphLaunch(self._exec, stream)
        if code != 0:
            check((code,), "launch a CUDA graph")

    def free(self) -> None:
        """Destroy the graph."""
        check(self._api.cudaGraphExecDestroy(self._exec), "destroy a CUDA graph")
