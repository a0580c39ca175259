"""FP32 → FP16: what changes, what stays, and how exact the result is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_gpuperf.convert import fp16
from pytest_gpuperf.errors import ConfigError

GENERATOR = np.random.default_rng(1)
KERNEL = GENERATOR.standard_normal((4, 5), np.float32)
BIAS = np.array([0.5, -1, 2, 1e-3, -1e9], np.float32)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("MatMul", ["x", "kernel"], ["product"], name="product"),
        helper.make_node("Add", ["product", "bias"], ["y"], name="sum"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
            [numpy_helper.from_array(KERNEL, "kernel"), numpy_helper.from_array(BIAS, "bias")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, tmp_path / "full.onnx")
    return tmp_path / "full.onnx"


def converted(graph: Path) -> Path:
    fp16.convert(graph, graph.with_name("half.onnx"))
    return graph.with_name("half.onnx")


def test_inputs_and_outputs_stay_fp32(graph):
    half = onnx.load(converted(graph)).graph
    assert [tensor.type.tensor_type.elem_type for tensor in (*half.input, *half.output)] == [TensorProto.FLOAT] * 2
    assert [tensor.name for tensor in (*half.input, *half.output)] == ["x", "y"]


def test_weights_become_fp16(graph):
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(converted(graph)).graph.initializer}
    np.testing.assert_array_equal(weights["kernel"], KERNEL.astype(np.float16))
    # -1e9 is no FP16 number; what takes its place leaves room for a sum.
    np.testing.assert_array_equal(weights["bias"], np.array([0.5, -1, 2, 1e-3, -32752], np.float16))


def test_nodes_are_in_order(graph):
    half = onnx.load(converted(graph))
    onnx.checker.check_model(half)
    assert [node.op_type for node in half.graph.node] == ["Cast", "MatMul", "Add", "Cast"]


def test_results_are_as_exact_as_fp16_is(graph):
    x = GENERATOR.standard_normal((64, 4), np.float32)
    [full], [half] = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        for path in (graph, converted(graph))
    )
    difference = half[:, :4] - full[:, :4]
    assert 0 < np.abs(difference).max() < 0.01
    assert np.sqrt((difference**2).mean() / (full[:, :4] ** 2).mean()) < 2e-3


def test_what_is_fp16_already(graph):
    half = converted(graph)
    with pytest.raises(ConfigError, match=r"half\.onnx has FP16 weights already"):
        fp16.convert(half, half.with_name("again.onnx"))


@pytest.mark.parametrize("content", [b"", b"no graph"])
def test_what_is_no_graph(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match="not an ONNX graph"):
        fp16.convert(tmp_path / "bad.onnx", tmp_path / "half.onnx")
    assert not (tmp_path / "half.onnx").exists()


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="not an ONNX graph"):
        fp16.convert(tmp_path / "none.onnx", tmp_path / "half.onnx")
