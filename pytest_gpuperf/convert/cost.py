"""What one sample costs: arithmetic and bytes, counted from the model's graph.

Only multiplications and additions of convolutions and matrix products count, two operations each, as in every published
figure for these models; what is left out is below 1 % of ResNet-50 and of BERT.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_gpuperf.convert.cache import Cache, file_sha256
from pytest_gpuperf.errors import ConfigError, GpuPerfError
from pytest_gpuperf.records import Artefact, Cost

Shape = tuple[int, ...]

#: ONNX operator → which input holds the weights (convolutions), or the right-hand matrix (products).
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3), "Gemm": (0, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation that counts, in a form that no model format matters for.

    Attributes:
        output: elements of its result for one sample.
        depth: products that are summed up in each of them.
        output_bytes: bytes of its result for one sample.
    """

    output: int
    depth: int
    output_bytes: int = 0


def total(ops: Iterable[Op], *, weight_bytes: float = 0.0) -> Cost:
    """Add operations up."""
    listed = list(ops)
    return Cost(
        flop=float(sum(2 * op.output * op.depth for op in listed)),
        weight_bytes=weight_bytes,
        activation_bytes=float(sum(op.output_bytes for op in listed)),
    )


def known(artefact: Artefact, *, cache: Cache, progress: Callable[[str], None]) -> Cost | None:
    """Return the cost of an ONNX artefact, counted once and then kept in the cache.

    ``None`` where it cannot be had, which ``progress`` is told: no measurement fails for want of it.
    """

    def build(path: Path) -> None:
        path.write_text(json.dumps(asdict(cost(Path(artefact.path)))))

    recipe = {"graph": artefact.sha256, "counter": file_sha256(Path(__file__))}
    try:
        kept = cache.get_or_build("cost", recipe, build, progress=progress)
    except (GpuPerfError, ImportError) as error:
        progress(f"work per sample is not known: {str(error).splitlines()[0]}")
        return None
    return Cost(**json.loads(Path(kept.path).read_bytes()))


def cost(path: Path) -> Cost:
    """Count the cost per sample of an ONNX model.

    Raises:
        ConfigError: the file is not an ONNX model, or the shape of an operation that counts cannot be inferred.
    """
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            if dims and not dims[0].dim_value:
                dims[0].dim_value = 1  # one sample
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # protobuf's and onnx's errors have no common base of their own
        raise ConfigError(f"cannot read the cost of {path}", got=str(error).splitlines()[0]) from error
    tensors = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}
    types = {name: tensor.elem_type for name, tensor in tensors.items()}
    shapes = {name: _dims(tensor) for name, tensor in tensors.items()}
    shapes |= {weights.name: tuple(weights.dims) for weights in graph.initializer}
    stored = sum(math.prod(weights.dims) * _size(onnx, weights.data_type) for weights in graph.initializer)
    return total(_ops(onnx, graph, shapes, types), weight_bytes=stored)


def _ops(onnx: Any, graph: Any, shapes: dict[str, Shape], types: dict[str, int]) -> Iterator[Op]:
    for node in graph.node:
        if (counted := _depth(node, shapes)) is None:
            continue
        result = shapes.get(node.output[0], ())
        if not counted or not result or min(result) < 1:
            raise ConfigError(
                "the cost of a model cannot be counted: an operation's shape is unknown",
                got=f"{node.op_type} {node.name or node.output[0]!r} of shape {list(result)}",
                expected="fixed shapes but for the batch",
                hint="export the model with fixed input shapes",
            )
        elements = math.prod(result)
        size = _size(onnx, types.get(node.output[0], onnx.TensorProto.FLOAT))
        yield Op(output=elements, depth=counted, output_bytes=elements * size)


def _depth(node: Any, shapes: dict[str, Shape]) -> int | None:
    """Return how many products each result element sums up; 0 = unknown, ``None`` = does not count."""
    if node.op_type in _CONVOLUTIONS:
        return math.prod(shapes.get(node.input[_CONVOLUTIONS[node.op_type]], (0,))[1:])
    if node.op_type in _PRODUCTS:
        left = shapes.get(node.input[_PRODUCTS[node.op_type][0]], (0,))
        is_transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return left[0] if is_transposed else left[-1]
    if node.op_type == "Einsum":
        return _einsum_depth(node, shapes)
    return None


def _einsum_depth(node: Any, shapes: dict[str, Shape]) -> int:
    """Multiply the sizes of the indices that an Einsum sums over."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation").replace(" ", "")
    operands, _, result = equation.partition("->")
    sizes: dict[str, int] = {}
    for indices, name in zip(operands.split(","), node.input, strict=True):
        sizes |= dict(zip(indices, shapes.get(name, ()), strict=False))
    return math.prod(sizes.get(index, 0) for index in set(operands) - {","} - set(result))


def _dims(tensor: Any) -> Shape:
    return tuple(dim.dim_value for dim in tensor.shape.dim)


def _size(onnx: Any, kind: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize) if kind else 4
