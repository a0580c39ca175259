"""Triton's own ``config.pbtxt``: what a server of any kind needs to batch as it was found best."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import TensorSpec
from pytest_gpuperf.serving.plan import Batching

#: NumPy's type names → Triton's, from the page "Model Configuration" of its user guide.
TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}


def config(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batching: Batching, *, backend: str
) -> str:
    """Return the model's configuration in protobuf's text format.

    Args:
        name: of the model, which is also its folder's.
        inputs: with the batch as first dimension, which Triton leaves out.
        outputs: likewise.
        batching: of requests.
        backend: ``python`` for our engines; ``onnxruntime`` or ``tensorrt`` for a server that has those backends.

    Raises:
        ConfigError: a tensor's type has no name in Triton.
    """
    lines = [f"name: {json.dumps(name)}", f"backend: {json.dumps(backend)}", f"max_batch_size: {batching.max_batch}"]
    lines += [f"input [ {_tensor(tensor)} ]" for tensor in inputs]
    lines += [f"output [ {_tensor(tensor)} ]" for tensor in outputs]
    lines.append(f"instance_group [ {{ count: {batching.instances} kind: {_kind(backend)} }} ]")
    lines += _dynamic(batching) if batching.is_dynamic else []
    return "\n".join(lines) + "\n"


def datatype(dtype: str) -> str:
    """Return Triton's and KServe's name of a NumPy type."""
    if dtype not in TYPES:
        raise ConfigError("a tensor's type cannot be served", got=dtype, expected=f"one of {', '.join(TYPES)}")
    return TYPES[dtype]


def _tensor(tensor: TensorSpec) -> str:
    dims = ", ".join(str(size) for size in tensor.shape[1:])
    return f"{{ name: {json.dumps(tensor.name)} data_type: TYPE_{datatype(tensor.dtype)} dims: [ {dims} ] }}"


def _kind(backend: str) -> str:
    """Return where Triton puts the model; our engines find their device themselves."""
    return "KIND_CPU" if backend == "python" else "KIND_AUTO"


def _dynamic(batching: Batching) -> list[str]:
    preferred = ", ".join(str(size) for size in batching.preferred)
    sizes = [f"  preferred_batch_size: [ {preferred} ]"] if preferred else []
    return [
        "dynamic_batching {",
        *sizes,
        f"  max_queue_delay_microseconds: {batching.max_queue_delay_us}",
        "}",
    ]
