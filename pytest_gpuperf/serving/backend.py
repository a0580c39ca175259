"""Our engines inside of Triton: what its Python backend calls, in a process of the server's.

Tensors come and go by DLPack: the backend's own NumPy conversion was built for NumPy 1 and gives empty tensors under 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from pytest_gpuperf import engines
from pytest_gpuperf.errors import EngineError
from pytest_gpuperf.serving.repository import SERVED, Served

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_gpuperf.engines.base import Binding

    Arrays = dict[str, NDArray[np.generic]]


class TritonPythonModel:
    """One instance of the engine; the names of the class and its methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine that stands beside the model file."""
        path = Path(args["model_repository"]) / args["model_version"] / SERVED
        served = msgspec.json.decode(path.read_bytes(), type=Served)
        self._engine = engines.load(served.spec.kind)(served.spec)
        self._info = self._engine.open(served.artefact, cache=Path(served.cache), progress=_say)
        self._bindings: dict[int, Binding] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests, which Triton has gathered, as one batch, and give each its rows."""
        import triton_python_backend_utils as triton  # type: ignore[import-not-found] # Triton brings it

        parts = {
            tensor.name: [np.from_dlpack(triton.get_input_tensor_by_name(request, tensor.name)) for request in requests]
            for tensor in self._info.inputs
        }
        rows = [len(part) for part in next(iter(parts.values()))]
        try:
            outputs = self._run({name: np.concatenate(part) for name, part in parts.items()}, sum(rows))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client shall read it
            failure = triton.TritonError(f"{type(error).__name__}: {error}")
            return [triton.InferenceResponse(error=failure) for _ in requests]
        ends = np.cumsum(rows)
        return [
            triton.InferenceResponse(
                output_tensors=[
                    triton.Tensor.from_dlpack(name, np.ascontiguousarray(array[end - count : end]))
                    for name, array in outputs.items()
                ]
            )
            for end, count in zip(ends, rows, strict=True)
        ]

    def finalize(self) -> None:
        """Free the engine."""
        self._engine.close()

    def _run(self, batch: Arrays, size: int) -> Arrays:
        """Run one batch; each size is bound once, since binding may allocate device memory or capture a graph."""
        binding = self._bindings.get(size)
        if binding is None:
            binding = self._bindings[size] = self._engine.bind(batch)
        else:
            try:
                binding.refill(batch)
            except EngineError:  # an engine that cannot be given other inputs is bound anew
                binding = self._bindings[size] = self._engine.bind(batch)
        binding.run()
        return binding.outputs()


def _say(text: str) -> None:
    """Write a line of progress to the server's log."""
    print(text, flush=True)  # noqa: T201 - the server's log is where it belongs
