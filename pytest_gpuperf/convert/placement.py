"""Where Q/DQ pairs stand in an INT8 graph: ONNX Runtime wants them around an operator, TensorRT before it.

ONNX Runtime fuses a convolution to INT8 only between two pairs. TensorRT fuses convolution, sum and activation into
one kernel that writes INT8, unless a pair stands between them: then each activation becomes a kernel of its own, which
reads and writes the whole tensor (TensorRT's developer guide, "Q/DQ layer-placement recommendations"). And TensorRT 8
knows no INT8 constants: weights must be FP32 with a pair of their own, which every release folds into INT8 weights.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A QuantizeLinear, its DequantizeLinear, and who stands before and behind."""

    quantize: Any
    dequantize: Any
    producer: Any
    consumers: tuple[Any, ...]


def before_operators(source: Path, target: Path) -> None:
    """Write the INT8 graph ``source`` with the pairs that TensorRT has no use for taken out.

    A pair behind a convolution, product or sum goes if only an activation, or nothing, follows. Of a sum's two inputs
    one convolution's pair goes too: the sum joins that convolution's kernel, and the other input stays INT8.
    """
    import onnx

    model = onnx.load(source)
    graph = model.graph
    joined: set[str] = set()
    for pair in _pairs(graph):
        if _is_behind(pair) or _joins_a_sum(pair, joined):
            _remove(graph, pair)
    _restore_weights(graph)
    onnx.checker.check_model(model)
    onnx.save(model, target)


def _pairs(graph: Any) -> list[Pair]:
    producers = {name: node for node in graph.node for name in node.output}
    consumers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node)
    return [
        Pair(
            quantize=quantize,
            dequantize=readers[0],
            producer=producers.get(quantize.input[0]),
            consumers=tuple(consumers[readers[0].output[0]]),
        )
        for quantize in graph.node
        if quantize.op_type == "QuantizeLinear"
        and len(readers := consumers[quantize.output[0]]) == 1
        and readers[0].op_type == "DequantizeLinear"
    ]


def _is_behind(pair: Pair) -> bool:
    if pair.producer is None or pair.producer.op_type not in WEIGHTED | {"Add"}:
        return False
    return all(node.op_type in ACTIVATIONS or _is_bias(pair, node) for node in pair.consumers)


def _is_bias(pair: Pair, node: Any) -> bool:
    return node.op_type == "Add" and pair.producer.op_type in {"Gemm", "MatMul"}


def _joins_a_sum(pair: Pair, joined: set[str]) -> bool:
    if pair.producer is None or pair.producer.op_type not in WEIGHTED or len(pair.consumers) != 1:
        return False
    node = pair.consumers[0]
    if node.op_type != "Add" or node.output[0] in joined:
        return False
    joined.add(node.output[0])
    return True


def _remove(graph: Any, pair: Pair) -> None:
    kept, gone = pair.quantize.input[0], pair.dequantize.output[0]
    outputs = {output.name for output in graph.output}
    if gone in outputs:  # the graph's output keeps its name
        for node in graph.node:
            for index, name in enumerate(node.output):
                if name == kept:
                    node.output[index] = gone
        kept, gone = gone, kept
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == gone:
                node.input[index] = kept
    graph.node.remove(pair.quantize)
    graph.node.remove(pair.dequantize)


def _restore_weights(graph: Any) -> None:
    """Give each INT8 constant its FP32 values back, and a QuantizeLinear that makes the very same INT8 of them."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in reversed(list(enumerate(graph.node))):
        stored = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if stored is None or stored.data_type != TensorProto.INT8:
            continue
        values = numpy_helper.to_array(stored).astype(np.float32)
        scale = numpy_helper.to_array(constants[node.input[1]])
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        if scale.size > 1:
            scale = scale.reshape([-1 if at == axis % values.ndim else 1 for at in range(values.ndim)])
        name = f"{stored.name}/fp32"
        graph.initializer.append(numpy_helper.from_array(values * scale, name))
        quantize = helper.make_node(
            "QuantizeLinear", [name, *node.input[1:]], [f"{name}/int8"], name=f"{node.name}/quantize", axis=axis
        )
        node.input[0] = quantize.output[0]
        graph.node.insert(index, quantize)
        if not any(stored.name in other.input for other in graph.node):
            graph.initializer.remove(stored)
