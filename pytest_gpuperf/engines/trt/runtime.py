"""A loaded engine: contexts with streams (lanes), and batches bound to them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_gpuperf.engines.base import Binding
from pytest_gpuperf.engines.trt import cuda, versions
from pytest_gpuperf.engines.trt.versions import Release
from pytest_gpuperf.errors import ConfigError, EngineError
from pytest_gpuperf.records import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """How calls are made.

    Attributes:
        streams: contexts, each with its own stream, that batches are spread over.
        has_transfers: whether a call copies its inputs to the GPU and its outputs back; else they stay there.
        has_graph: whether a call launches a captured CUDA graph.
        is_blocking: whether waiting sleeps; else it spins.
    """

    streams: int = 1
    has_transfers: bool = False
    has_graph: bool = True
    is_blocking: bool = False


class Lane:
    """One execution context with its stream; work of several threads is put on it in turn."""

    def __init__(self, loaded: Loaded, index: int) -> None:
        self.stream = loaded.keep(cuda.Stream())
        self.lock = threading.Lock()
        self.bound: object = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.context = loaded.engine.create_execution_context()
        if self.context is None:
            raise EngineError(
                "TensorRT could not make an execution context", got=loaded.log_tail(), hint="free GPU memory"
            )
        profile = index if loaded.engine.num_optimization_profiles > 1 else 0
        if not self.context.set_optimization_profile_async(profile, self.stream.handle):
            raise EngineError(f"TensorRT refused shape profile {profile} for context {index}", got=loaded.log_tail())
        self.stream.synchronize()

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Set an input's shape, unless it is set already; raises :class:`ConfigError` outside of the shape profile."""
        if self._shapes.get(name) == shape:
            return
        self._shapes.pop(name, None)
        if not self.context.set_input_shape(name, shape):
            profile = self.context.active_optimization_profile
            least, _, most = self.context.engine.get_tensor_profile_shape(name, profile)
            raise ConfigError(
                f"input {name!r} does not fit the engine",
                got=str(shape),
                expected=f"{tuple(least)} … {tuple(most)}",
                hint="ask for an engine with another max_batch or min_batch",
            )
        self._shapes[name] = shape


class Loaded:
    """A deserialized engine and everything that was allocated for it."""

    def __init__(self, release: Release, engine: bytes, device: cuda.Device, mode: Mode) -> None:
        self.release, self.mode, self.device = release, mode, device
        self._log: list[str] = []
        self._resources = ExitStack()
        self._runtime = release.api.Runtime(release.logger(self._log))
        self.engine: Any = self._runtime and self._runtime.deserialize_cuda_engine(engine)
        if self.engine is None:
            raise EngineError(
                "TensorRT did not load the engine",
                got=self.log_tail(),
                expected=f"an engine for {device.name}, compute capability {device.compute_capability}, "
                f"{release.name} {release.version}",
                hint="remove it with 'gpuperf cache clear' and run again",
            )
        self.inputs, self.outputs = _tensors(release, self.engine)
        self._lanes = [Lane(self, index) for index in range(mode.streams)]
        self._bindings = 0
        self._profiler: Any = None

    def bind(self, batch: Mapping[str, NDArray[np.generic]]) -> TensorRTBinding:
        """Bind a batch to the next lane."""
        cuda.device(self.device.index)  # the current device is a thread's own
        lane = self._lanes[self._bindings % len(self._lanes)]
        self._bindings += 1
        return TensorRTBinding(self, lane, batch)

    def profile(self, batch: Mapping[str, NDArray[np.generic]], *, calls: int) -> list[dict[str, float]]:
        """Time the layers of each of several calls, in milliseconds; from then on every call is slower."""
        cuda.device(self.device.index)
        lane = self._lanes[0]
        binding = TensorRTBinding(self, lane, batch, mode=Mode(has_graph=False))
        binding.run()
        times: dict[str, float] = {}
        # The profiler reports within the enqueue, which therefore waits; a captured graph would report nothing.
        self._profiler = lane.context.profiler = self.release.profiler(times)
        runs = []
        for _ in range(calls):
            times.clear()
            binding.run()
            runs.append(dict(times))
        return runs

    def can_be_captured(self) -> bool:
        """Whether a call can become a CUDA graph; after ``False`` the engine must be loaded anew."""
        import numpy as np

        shapes = ((spec, self.engine.get_tensor_profile_shape(spec.name, 0)[1]) for spec in self.inputs)
        try:
            self.bind({spec.name: np.zeros(tuple(shape), spec.dtype) for spec, shape in shapes})
        except EngineError:
            return False
        return True

    def inspect(self) -> str:
        """Return the engine inspector's JSON."""
        inspector = self.engine.create_engine_inspector()
        if inspector is None:
            return json.dumps({"Layers": []})
        text = inspector.get_engine_information(self.release.api.LayerInformationFormat.JSON)
        return str(text)

    def keep(self, resource: Any) -> Any:
        """Free ``resource`` when the engine is closed; return it."""
        self._resources.callback(resource.free)
        return resource

    def log_tail(self) -> str:
        """Return TensorRT's last words."""
        return "; ".join(self._log[-3:]) or "no reason given"

    def close(self) -> None:
        """Free everything; bindings are unusable afterwards."""
        for lane in self._lanes:
            lane.stream.synchronize()
            del lane.context
        self._lanes = []
        self._resources.close()
        self.engine = self._runtime = None


class TensorRTBinding(Binding):
    """A batch in its own device buffers, with its own events, on one lane."""

    def __init__(
        self, loaded: Loaded, lane: Lane, batch: Mapping[str, NDArray[np.generic]], *, mode: Mode | None = None
    ) -> None:
        mode = mode or loaded.mode
        self._lane, self._mode, self._log_tail = lane, mode, loaded.log_tail
        self._start = loaded.keep(cuda.Event(blocking=False))
        self._end = loaded.keep(cuda.Event(blocking=mode.is_blocking))
        self._shapes = {tensor.name: tuple(batch[tensor.name].shape) for tensor in loaded.inputs}
        with lane.lock:
            self._inputs = {
                tensor.name: loaded.keep(cuda.Buffer(self._shapes[tensor.name], tensor.dtype))
                for tensor in loaded.inputs
            }
            for name, buffer in self._inputs.items():
                buffer.host[...] = batch[name]
                buffer.upload(lane.stream.handle)
            self._set_shapes()
            self._outputs = {
                tensor.name: loaded.keep(cuda.Buffer(self._output_shape(tensor), tensor.dtype))
                for tensor in loaded.outputs
            }
            self._put: Callable[[int], None] = self._enqueue
            self._enqueue(lane.stream.handle)  # what TensorRT does only once must not become part of a graph
            lane.stream.synchronize()
            if mode.has_graph:
                self._put = loaded.keep(self._capture()).launch

    def run(self) -> None:
        """Run once; outputs are in device memory, or in host memory when the mode has transfers."""
        lane = self._lane
        stream = lane.stream.handle
        with lane.lock:
            if not self._mode.has_graph:
                self._attach()  # the host's own work, which is no part of the device's time
            self._start.record(stream)
            self._put(stream)
            self._end.record(stream)
        self._end.wait()

    def refill(self, batch: Mapping[str, NDArray[np.generic]]) -> None:
        """Write other inputs of the same shapes into the pinned memory that the next run copies from."""
        with self._lane.lock:
            for name, buffer in self._inputs.items():
                buffer.host[...] = batch[name]
                if not self._mode.has_transfers:
                    buffer.upload(self._lane.stream.handle)

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """Return host copies of the last run's outputs."""
        if not self._mode.has_transfers:
            with self._lane.lock:
                for buffer in self._outputs.values():
                    buffer.download(self._lane.stream.handle)
                self._lane.stream.synchronize()
        return {name: buffer.host.copy() for name, buffer in self._outputs.items()}

    def device_ns(self) -> int:
        """Return the time between the events around the last run's work on the stream."""
        return int(self._end.ns_since(self._start))

    def _attach(self) -> None:
        """Point the lane's context at this batch, unless it does already."""
        if self._lane.bound is self:
            return
        self._set_shapes()
        for name, buffer in {**self._inputs, **self._outputs}.items():
            if not self._lane.context.set_tensor_address(name, buffer.device):
                raise EngineError(f"TensorRT refused the address of {name!r}", got=self._log_tail())
        self._lane.bound = self

    def _enqueue(self, stream: int) -> None:
        self._attach()
        if self._mode.has_transfers:
            for buffer in self._inputs.values():
                buffer.upload(stream)
        if not self._lane.context.execute_async_v3(stream):
            raise EngineError("TensorRT could not enqueue the engine", got=self._log_tail())
        if self._mode.has_transfers:
            for buffer in self._outputs.values():
                buffer.download(stream)

    def _set_shapes(self) -> None:
        self._lane.bound = None
        for name, shape in self._shapes.items():
            self._lane.set_shape(name, shape)

    def _output_shape(self, tensor: TensorSpec) -> tuple[int, ...]:
        shape = tuple(int(size) for size in self._lane.context.get_tensor_shape(tensor.name))
        if any(size < 0 for size in shape):
            raise ConfigError(f"output {tensor.name!r} has a shape that depends on the data", got=str(shape))
        return shape

    def _capture(self) -> cuda.Graph:
        cuda.Graph.begin(self._lane.stream)
        try:
            self._enqueue(self._lane.stream.handle)
        except EngineError:
            cuda.Graph.abandon(self._lane.stream)
            raise
        return cuda.Graph(self._lane.stream)


def _tensors(release: Release, engine: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the engine's inputs and outputs."""
    found: dict[Any, list[TensorSpec]] = {
        mode: [] for mode in (release.api.TensorIOMode.INPUT, release.api.TensorIOMode.OUTPUT)
    }
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        spec = TensorSpec(
            name=name, dtype=versions.dtype(engine.get_tensor_dtype(name)), shape=tuple(engine.get_tensor_shape(name))
        )
        found[engine.get_tensor_mode(name)].append(spec)
    inputs, outputs = found.values()
    return tuple(inputs), tuple(outputs)
