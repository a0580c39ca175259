"""Tidied graphs: fewer and larger operators that compute the same, and nothing touched that merely looks alike."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_gpuperf.convert import tidy

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
ROWS, WIDTH = 4, 8
GENERATOR = np.random.default_rng(0)
RANDOM = {name: GENERATOR.standard_normal((1, 1, WIDTH), np.float32) for name in ("scale", "offset")}
NORMALIZATION = [
    ("GlobalAveragePool", ["x"], "mean"),
    ("Sub", ["x", "mean"], "difference"),
    ("Mul", ["difference", "difference"], "square"),
    ("GlobalAveragePool", ["square"], "variance"),
    ("Add", ["variance", "epsilon"], "sum"),
    ("Sqrt", ["sum"], "root"),
    ("Reciprocal", ["root"], "inverse"),
    ("Mul", ["inverse", "scale"], "gain"),
    ("Neg", ["mean"], "negative"),
    ("Mul", ["negative", "gain"], "moved"),
    ("Add", ["moved", "offset"], "bias"),
    ("Mul", ["x", "gain"], "scaled"),
    ("Add", ["scaled", "bias"], "y"),
]
CONSTANTS = {**RANDOM, "epsilon": np.float32(1e-3)}


def write(
    path: Path, nodes: list[tuple[Any, ...]], constants: dict[str, Any], x: tuple[int, ...], rank: int = 3
) -> Path:
    made = [
        onnx.helper.make_node(operator, inputs, [output], name=output, **(rest[0] if rest else {}))
        for operator, inputs, output, *rest in nodes
    ]
    graph = onnx.helper.make_graph(
        made,
        "graph",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", *x])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * rank)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def tidied(path: Path, x: tuple[int, ...]) -> Counter[str]:
    """Tidy up, check that the function is the same, and return the operators that are left."""
    after = path.with_suffix(".tidy.onnx")
    tidy.convert(path, after)
    feed = {"x": np.random.default_rng(1).standard_normal((2, *x), np.float32)}
    was, now = (ort.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(None, feed) for p in (path, after))
    np.testing.assert_allclose(now[0], was[0], rtol=1e-5, atol=1e-5)
    return Counter(node.op_type for node in onnx.load(after).graph.node)


def test_a_layer_normalization_becomes_one_operator(tmp_path):
    path = write(tmp_path / "graph.onnx", NORMALIZATION, CONSTANTS, (ROWS, WIDTH))
    assert tidied(path, (ROWS, WIDTH)) == {"LayerNormalization": 1}


def test_a_normalization_around_another_mean_stays(tmp_path):
    nodes = [("Relu", ["x"], "z"), *NORMALIZATION]
    nodes[1] = ("GlobalAveragePool", ["z"], "mean")
    path = write(tmp_path / "graph.onnx", nodes, CONSTANTS, (ROWS, WIDTH))
    assert "LayerNormalization" not in tidied(path, (ROWS, WIDTH))


def dense(flat: list[int], free: list[int]) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """Return what TensorFlow's ``tensordot`` over the last dimension is exported as."""
    nodes = [
        ("Reshape", ["x", "flat"], "matrix"),
        ("MatMul", ["matrix", "weights"], "product"),
        ("Shape", ["x"], "shape"),
        ("Gather", ["shape", "free"], "lengths"),
        ("Concat", ["lengths", "outer"], "target", {"axis": 0}),
        ("Reshape", ["product", "target"], "y"),
    ]
    weights = GENERATOR.standard_normal((WIDTH, 3), np.float32)
    return nodes, {"flat": np.array(flat), "weights": weights, "free": np.array(free), "outer": np.array([3])}


def test_a_dense_layer_becomes_one_product_without_computed_shapes(tmp_path):
    path = write(tmp_path / "graph.onnx", *dense([-1, WIDTH], [0, 1]), (ROWS, WIDTH))
    assert tidied(path, (ROWS, WIDTH)) == {"MatMul": 1}


def test_a_product_of_reordered_lengths_stays(tmp_path):
    path = write(tmp_path / "graph.onnx", *dense([-1, WIDTH], [1, 0]), (ROWS, WIDTH))
    assert tidied(path, (ROWS, WIDTH))["Reshape"] == 2


def test_transposes_move_behind_the_last_convolution_and_vanish(tmp_path):
    nodes = [
        ("Conv", ["x", "kernel"], "convolved"),
        ("Transpose", ["convolved"], "last", {"perm": [0, 2, 3, 1]}),
        ("Mul", ["last", "gain"], "scaled"),
        ("Add", ["scaled", "bias"], "moved"),
        ("Relu", ["moved"], "positive"),
        ("ReduceMean", ["positive"], "y", {"axes": [1, 2], "keepdims": 0}),
    ]
    shapes = {"kernel": (5, 3, 1, 1), "gain": (1, 1, 1, 5), "bias": (5,)}
    constants = {name: GENERATOR.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    path = write(tmp_path / "graph.onnx", nodes, constants, (3, 6, 6), rank=2)
    assert tidied(path, (3, 6, 6)) == {"Conv": 1, "Relu": 1, "ReduceMean": 1}


@pytest.mark.parametrize(("before", "left"), [("Relu", 0), ("Neg", 1)])
def test_padding_joins_a_pooling_only_where_nothing_is_negative(tmp_path, before, left):
    nodes = [
        (before, ["x"], "made"),
        ("Pad", ["made", "pads"], "padded"),
        ("MaxPool", ["padded"], "y", {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ]
    path = write(tmp_path / "graph.onnx", nodes, {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, (3, 6, 6), rank=4)
    assert tidied(path, (3, 6, 6))["Pad"] == left
