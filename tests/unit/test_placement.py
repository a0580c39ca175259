"""Q/DQ pairs where TensorRT wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_gpuperf.convert import placement, quantize
from pytest_gpuperf.inputs import Batches

GENERATOR = np.random.default_rng(3)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual block as ONNX Runtime quantizes it: conv → relu → conv → + → relu → pool → product."""
    folder = tmp_path_factory.mktemp("int8")
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "k1"], ["a"], name="conv1", pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["b"], name="relu1"),
        node("Conv", ["b", "k2"], ["c"], name="conv2", pads=[1, 1, 1, 1]),
        node("Add", ["c", "b"], ["d"], name="sum"),
        node("Relu", ["d"], ["e"], name="relu2"),
        node("GlobalAveragePool", ["e"], ["p"], name="pool"),
        node("Flatten", ["p"], ["f"], name="flatten"),
        node("MatMul", ["f", "w"], ["y"], name="head"),
    ]
    tensors = {
        "k1": GENERATOR.standard_normal((4, 3, 3, 3), np.float32) * np.float32(0.2),
        "k2": GENERATOR.standard_normal((4, 4, 3, 3), np.float32) * np.float32(0.2),
        "w": GENERATOR.standard_normal((4, 5), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "fp32.onnx")
    arrays = {"x": GENERATOR.standard_normal((16, 3, 8, 8), np.float32)}
    quantize.convert(
        folder / "fp32.onnx", folder / "int8.onnx", Batches(arrays=arrays, labels=None, batch=1, digest="")
    )
    return folder / "int8.onnx"


@pytest.fixture(scope="module")
def placed(int8: Path) -> Path:
    placement.before_operators(int8, int8.with_name("placed.onnx"))
    return int8.with_name("placed.onnx")


def operators(path: Path) -> dict[str, tuple[str, ...]]:
    """Return, for each operator, the operators behind it, by type."""
    graph = onnx.load(path).graph
    return {
        node.name or node.output[0]: tuple(
            sorted(other.op_type for other in graph.node if set(node.output) & set(other.input))
        )
        for node in graph.node
    }


def test_nothing_stands_between_an_operator_and_its_activation(int8, placed):
    before, after = operators(int8), operators(placed)
    for name, behind in {"conv1": "Relu", "sum": "Relu", "conv2": "Add"}.items():
        assert before[name] == ("QuantizeLinear",)
        assert after[name] == (behind,)


def test_inputs_of_operators_stay_quantized(placed):
    graph = onnx.load(placed).graph
    producers = {name: node.op_type for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in {"Conv", "MatMul", "Gemm"}:
            assert [producers[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2, node.name
        if node.op_type == "Add" and node.name == "sum":
            assert sorted(producers[name] for name in node.input) == ["Conv", "DequantizeLinear"]


def test_the_output_is_not_quantized(placed):
    after = operators(placed)
    assert next(behind for name, behind in after.items() if name.startswith("head")) == ()
    assert [output.name for output in onnx.load(placed).graph.output] == ["y"]


def test_weights_are_fp32_with_pairs_and_mean_the_same(int8, placed):
    half = onnx.load(placed).graph
    large = [tensor for tensor in half.initializer if len(tensor.dims) > 1]
    assert {tensor.data_type for tensor in large} == {TensorProto.FLOAT}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(int8).graph.initializer}
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in half.initializer}
    quantizers = [node for node in half.node if node.op_type == "QuantizeLinear" and node.input[0] in values]
    assert len(quantizers) == 3
    for node in quantizers:
        original = stored[node.input[0].removesuffix("/fp32")]
        axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
        shape = [-1 if at == axis else 1 for at in range(original.ndim)]
        scale = values[node.input[1]]
        again = np.round(values[node.input[0]] / (scale.reshape(shape) if scale.size > 1 else scale))
        np.testing.assert_array_equal(again, original)


def test_the_result_is_at_least_as_exact(int8, placed):
    x = {"x": GENERATOR.standard_normal((64, 3, 8, 8), np.float32)}
    full, before, after = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, x)[0]
        for path in (int8.with_name("fp32.onnx"), int8, placed)
    )
    errors = [np.sqrt(((got - full) ** 2).mean() / (full**2).mean()) for got in (before, after)]
    assert 0 < errors[1] <= errors[0] < 0.1
