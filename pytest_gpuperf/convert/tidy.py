"""Exported graphs as TensorRT likes them: the same function in fewer, larger operators.

What tf2onnx leaves is correct and slow there. Layer normalization in a dozen nodes around a pooling keeps a transformer
from being fused; shapes that are computed from shapes are work for the host and keep it out of a CUDA graph; a padding,
and transposes around a network's last convolution, are kernels of their own that read and write whole tensors.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_gpuperf.convert import onnx as exported

_ELEMENTWISE = frozenset({"Add", "Mul", "Relu"})


def convert(source: Path, path: Path) -> None:
    """Write the FP32 graph ``source`` tidied up to ``path``; inputs, outputs and what is computed stay the same."""
    import onnx

    model = onnx.load(source)
    for rewrite in (_normalizations, _products, _expansions, _transposes, _paddings):
        while rewrite(Graph(model.graph)):
            _prune(model.graph)
    with TemporaryDirectory(dir=path.parent) as folder:
        whole = Path(folder) / "tidied.onnx"
        onnx.save(model, whole)
        exported.fold(whole, path)  # drops what nobody uses any more, and joins convolutions with what follows them


def _prune(graph: Any) -> None:
    """Remove the nodes whose results nobody uses."""
    used = {tensor.name for tensor in graph.output}
    for node in reversed(list(graph.node)):
        if used.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            used.update(node.input)


class Graph:
    """A graph's nodes by what they make and use, and its constants."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.outputs = {tensor.name for tensor in graph.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.consumers[name].append(node)

    def maker(self, name: str, *operators: str) -> Any:
        """Return the node that makes ``name`` if it is one of ``operators``, else ``None``."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in operators else None

    def split(self, node: Any) -> tuple[str, Any] | None:
        """Return the tensor and the constant of a node with one of each, in either order."""
        for name, other in (node.input, tuple(reversed(node.input))):
            if other in self.constants and name not in self.constants:
                return name, self.value(other)
        return None

    def value(self, name: str) -> Any:
        """Return a constant as an array."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])

    def constant(self, value: Any, name: str) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def replace(self, node: Any, operator: str, inputs: list[str], **attributes: Any) -> None:
        """Let ``operator`` make what ``node`` made, at its place."""
        from onnx import helper

        made = helper.make_node(operator, inputs, list(node.output), name=node.name, **attributes)
        node.CopyFrom(made)

    def origin(self, name: str) -> str:
        """Follow casts and identities up to what they pass on."""
        while (node := self.maker(name, "Cast", "Identity")) is not None:
            name = node.input[0]
        return name


def _normalizations(graph: Graph) -> bool:
    """``x * gain + (bias - mean * gain)`` with ``gain = scale / deviation`` → LayerNormalization, last dimension."""
    for node in graph.graph.node:
        found = _normalization(graph, node) if node.op_type == "Add" else None
        if found is not None:
            x, gamma, beta, epsilon = found
            scale = graph.constant(gamma.reshape(-1), f"{node.output[0]}/scale")
            bias = graph.constant(beta.reshape(-1), f"{node.output[0]}/bias")
            graph.replace(node, "LayerNormalization", [x, scale, bias], axis=-1, epsilon=epsilon)
            return True
    return False


def _normalization(graph: Graph, node: Any) -> tuple[str, Any, Any, float] | None:
    scaled, offset = graph.maker(node.input[0], "Mul"), graph.maker(node.input[1], "Add")
    if scaled is None or offset is None:
        return None
    x, factor = scaled.input
    shifted, gain = graph.split(offset), graph.maker(factor, "Mul")
    if shifted is None or gain is None or (scale := graph.split(gain)) is None:
        return None
    moved, inverse = graph.maker(shifted[0], "Mul"), graph.maker(scale[0], "Reciprocal")
    root = graph.maker(inverse.input[0], "Sqrt") if inverse is not None else None
    sum_ = graph.maker(root.input[0], "Add") if root is not None else None
    negative = graph.maker(moved.input[0], "Neg") if moved is not None else None
    if sum_ is None or negative is None or moved.input[1] != factor or (variance := graph.split(sum_)) is None:
        return None
    if not _is_variance(graph, variance[0], x, negative.input[0]):
        return None
    return x, scale[1], shifted[1], float(variance[1])


def _is_variance(graph: Graph, name: str, x: str, mean: str) -> bool:
    """Whether ``name`` is the mean of ``(x - mean)²`` and ``mean`` that of ``x``, over the same last dimension."""
    averages = graph.maker(name, "GlobalAveragePool"), graph.maker(mean, "GlobalAveragePool")
    if None in averages or averages[1].input[0] != x:
        return False
    square = graph.maker(averages[0].input[0], "Mul")
    if square is None or square.input[0] != square.input[1]:
        return False
    difference = graph.maker(square.input[0], "Sub")
    return difference is not None and list(difference.input) == [x, mean]


def _products(graph: Graph) -> bool:
    """Reshape to a matrix, MatMul, reshape back to the shape of before → MatMul, which takes any shape."""
    for node in graph.graph.node:
        if node.op_type != "Reshape" or (product := graph.maker(node.input[0], "MatMul")) is None:
            continue
        flat = graph.maker(product.input[0], "Reshape")
        if flat is None or product.input[1] not in graph.constants or flat.input[1] not in graph.constants:
            continue
        weights = graph.value(product.input[1])
        inner, outer = weights.shape
        is_flat = list(graph.value(flat.input[1])) == [-1, inner]
        if is_flat and _leading_shape(graph, node.input[1]) == (flat.input[0], [outer]):
            graph.replace(node, "MatMul", [flat.input[0], product.input[1]])
            return True
    return False


def _leading_shape(graph: Graph, name: str) -> tuple[str | None, list[int] | None]:
    """Return ``x`` and ``[n, …]`` where ``name`` holds the first lengths of ``x``, and then ``n, …``."""
    joined = graph.maker(graph.origin(name), "Concat")
    if joined is None or len(joined.input) != 2 or joined.input[1] not in graph.constants:  # noqa: PLR2004 - a pair
        return None, None
    taken = graph.maker(graph.origin(joined.input[0]), "Gather")
    if taken is None or taken.input[1] not in graph.constants:
        return None, None
    shape, chosen = graph.maker(graph.origin(taken.input[0]), "Shape"), list(graph.value(taken.input[1]).reshape(-1))
    if shape is None or chosen != list(range(len(chosen))):
        return None, None
    return shape.input[0], [int(size) for size in graph.value(joined.input[1]).reshape(-1)]


def _expansions(graph: Graph) -> bool:
    """Expand a constant to the shape of what it is added to → nothing: a sum broadcasts by itself."""
    for node in graph.graph.node:
        if node.op_type != "Add":
            continue
        for index, name in enumerate(node.input):
            expand, other = graph.maker(name, "Expand"), node.input[1 - index]
            if expand is None or expand.input[0] not in graph.constants:
                continue
            if _depends_on_shape_of(graph, expand.input[1], other):
                node.input[index] = expand.input[0]
                return True
    return False


def _depends_on_shape_of(graph: Graph, name: str, x: str) -> bool:
    """Whether ``name`` is the batch of ``x`` followed by constants."""
    joined = graph.maker(graph.origin(name), "Concat")
    if joined is None or not all(part in graph.constants for part in joined.input[1:]):
        return False
    taken = graph.maker(graph.origin(joined.input[0]), "Slice", "Gather")
    shape = graph.maker(graph.origin(taken.input[0]), "Shape") if taken is not None else None
    return shape is not None and shape.input[0] == x


def _transposes(graph: Graph) -> bool:
    """Move a Transpose behind what it stands before: element by element any order will do, and a mean ends it."""
    for node in graph.graph.node:
        dynamic = [name for name in node.input if name not in graph.constants]
        makers = [graph.maker(name, "Transpose") for name in dynamic]
        orders = {tuple(_ints(maker, "perm")) for maker in makers if maker is not None}
        if not makers or None in makers or len(orders) != 1:
            continue
        (order,) = orders
        if node.op_type == "ReduceMean" and _keeps_order(node, order):
            axes = [order[axis] for axis in _ints(node, "axes")]
            graph.replace(node, "ReduceMean", [makers[0].input[0]], axes=axes, keepdims=0)
            return True
        if node.op_type in _ELEMENTWISE and node.output[0] not in graph.outputs:
            _move_behind(graph, node, order)
            return True
    return False


def _keeps_order(node: Any, order: tuple[int, ...]) -> bool:
    """Whether a mean of a transposed tensor leaves the dimensions in the order that a mean of the original would."""
    axes = {axis % len(order) for axis in _ints(node, "axes")}
    left = [place for at, place in enumerate(order) if at not in axes]
    keeps = next((attribute.i for attribute in node.attribute if attribute.name == "keepdims"), 1)
    return bool(axes) and not keeps and left == sorted(left)


def _move_behind(graph: Graph, node: Any, order: tuple[int, ...]) -> None:
    import numpy as np
    from onnx import helper

    back = np.argsort(order)
    for index, name in enumerate(node.input):
        if name in graph.constants:
            value = graph.value(name)
            full = value.reshape((1,) * (len(order) - value.ndim) + value.shape).transpose(back)
            node.input[index] = graph.constant(np.ascontiguousarray(full), f"{node.output[0]}/constant{index}")
        else:
            node.input[index] = graph.producers[name].input[0]
    outer, inner = node.output[0], f"{node.output[0]}/before"
    node.output[0] = inner
    place = next(at for at, other in enumerate(graph.graph.node) if other is node or other == node)
    moved = helper.make_node("Transpose", [inner], [outer], name=f"{node.name}/order", perm=order)
    graph.graph.node.insert(place + 1, moved)


def _paddings(graph: Graph) -> bool:
    """Zeros padded around a ReLU's output for a maximum pooling → the pooling's own padding, which wins no maximum."""
    for node in graph.graph.node:
        pad = graph.maker(node.input[0], "Pad") if node.op_type == "MaxPool" else None
        if pad is None or graph.maker(pad.input[0], "Relu") is None or pad.input[1] not in graph.constants:
            continue
        pads = [int(size) for size in graph.value(pad.input[1])]
        rank = len(pads) // 2
        value = graph.value(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else 0  # noqa: PLR2004 - the optional value
        outside = [*pads[:2], *pads[rank : rank + 2]]
        if any(outside) or float(value) or any(_ints(node, "pads")) or rank != 4:  # noqa: PLR2004 - images
            continue
        kept = {a.name: list(a.ints) for a in node.attribute if a.name in ("kernel_shape", "strides", "dilations")}
        graph.replace(node, "MaxPool", [pad.input[0]], pads=[*pads[2:rank], *pads[rank + 2 :]], **kept)
        return True
    return False


def _ints(node: Any, name: str) -> list[int]:
    return next((list(attribute.ints) for attribute in node.attribute if attribute.name == name), [])
