"""TensorRT's runtime without a GPU: the engine doubles its input ``x`` (batch, 4) into ``y``.

An engine file is JSON: ``{"max_batch": 8, "layers": […]}``. ``refuse`` names calls that return False or None.
"""

from __future__ import annotations

import ctypes
import json
from enum import Enum
from types import SimpleNamespace
from typing import Any

from tests.fakes import cudart

__version__ = "8.6.0"
refuse: set[str] = set()


class NetworkDefinitionCreationFlag(Enum):
    EXPLICIT_BATCH = 0


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(Enum):
    FLOAT = 0


LayerInformationFormat = SimpleNamespace(JSON=1)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)


class IProfiler:
    """Told of two layers by every enqueue that no capture is under way for; the first runs twice."""


class Runtime:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        if "deserialize_cuda_engine" in refuse:
            self._logger.log(ILogger.ERROR, "The engine plan file is generated on an incompatible device")
            return None
        return Engine(json.loads(content))


class Engine:
    num_io_tensors = 2
    num_optimization_profiles = 1

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def get_tensor_name(self, index: int) -> str:
        return "xy"[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 4)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return {"x": TensorIOMode.INPUT, "y": TensorIOMode.OUTPUT}[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(1, 4), (1, 4), (self.content["max_batch"], 4)]

    def serialize(self) -> bytes:
        return json.dumps(self.content).encode()

    def create_execution_context(self) -> Context | None:
        return None if "create_execution_context" in refuse else Context(self)

    def create_engine_inspector(self) -> Any:
        text = json.dumps({"Layers": self.content.get("layers", [])})
        return SimpleNamespace(get_engine_information=lambda kind: text)


class Context:
    active_optimization_profile = 0
    profiler: Any = None

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        return "set_optimization_profile_async" not in refuse

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return shape[0] <= self.engine.content["max_batch"]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return "set_tensor_address" not in refuse

    def execute_async_v3(self, stream: int) -> bool:
        if "execute_async_v3" in refuse or ("execute_in_capture" in refuse and cudart.capturing is not None):
            return False
        x, y, count = self.addresses["x"], self.addresses["y"], self.shape[0] * 4

        def work() -> None:
            source, target = ((ctypes.c_float * count).from_address(address) for address in (x, y))
            for index in range(count):
                target[index] = 2 * source[index]

        cudart.do(work)
        if self.profiler is not None and cudart.capturing is None:
            for name, ms in (("conv1", 0.5), ("fc", 0.25), ("conv1", 0.5)):
                self.profiler.report_layer_time(name, ms)
        return True
