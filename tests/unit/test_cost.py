"""The cost of hand-made graphs, of ResNet-50 v1.5 and of BERT-base: shapes only, no weights needed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pytest_gpuperf.convert.cache import Cache
from pytest_gpuperf.convert.cost import Op, cost, known, total
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, Cost

onnx = pytest.importorskip("onnx")
FLOAT = onnx.TensorProto.FLOAT


class Graph:
    """Writes a graph whose weights are inputs: it has every shape and no numbers."""

    def __init__(self, name, *shape):
        self.nodes, self.inputs, self.weights = [], [onnx.helper.make_tensor_value_info(name, FLOAT, shape)], []

    def add(self, kind, *inputs, **attributes):
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, *shape):
        name = f"w{len(self.inputs)}"
        self.inputs.append(onnx.helper.make_tensor_value_info(name, FLOAT, shape))
        return name

    def conv(self, x, filters, channels, kernel, stride=1):
        pads = [kernel // 2] * 4
        return self.add("Conv", x, self.weight(filters, channels, kernel, kernel), strides=[stride] * 2, pads=pads)

    def dense(self, x, inputs, outputs):
        return self.add("MatMul", x, self.weight(inputs, outputs))

    def save(self, path, *outputs):
        results = [onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
        graph = onnx.helper.make_graph(self.nodes, "g", self.inputs, results, self.weights)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), str(path))
        return path


def test_ops_add_up():
    assert total([Op(output=10, depth=3, output_bytes=40), Op(output=2, depth=5)], weight_bytes=7) == Cost(
        flop=80, weight_bytes=7, activation_bytes=40
    )


def test_resnet50_v15_takes_8_18_gflop(tmp_path):
    graph = Graph("images", "batch", 3, 224, 224)
    x = graph.add("MaxPool", graph.conv("images", 64, 3, 7, 2), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            stride = first if block == 0 else 1
            y = graph.conv(graph.conv(x, width, channels, 1), width, width, 3, stride)  # v1.5: the 3 x 3 strides
            y = graph.conv(y, 4 * width, width, 1)
            x = graph.add("Add", graph.conv(x, 4 * width, channels, 1, stride) if block == 0 else x, y)
            channels = 4 * width
    x = graph.dense(graph.add("Flatten", graph.add("GlobalAveragePool", x)), 2048, 1000)
    counted = cost(graph.save(tmp_path / "g.onnx", x))
    assert counted.flop == pytest.approx(8.178e9, rel=1e-3)
    assert counted.activation_bytes == pytest.approx(4 * 11.11e6, rel=1e-3)


def test_bert_base_with_128_tokens_takes_22_35_gflop(tmp_path):
    graph, tokens, hidden, heads = Graph("x", "batch", 128, 768), 128, 768, 12
    x = "x"
    for _ in range(12):
        q, k, v = (graph.dense(x, hidden, hidden) for _ in range(3))
        shape = onnx.numpy_helper.from_array(np.array([-1, tokens, heads, hidden // heads]), f"s{len(graph.nodes)}")
        graph.weights.append(shape)
        q, k, v = (graph.add("Reshape", part, shape.name) for part in (q, k, v))
        scores = graph.add("Einsum", q, k, equation="bqhd,bkhd->bhqk")
        mixed = graph.add("Einsum", scores, v, equation="bhqk,bkhd->bqhd")
        flat = onnx.numpy_helper.from_array(np.array([-1, tokens, hidden]), f"f{len(graph.nodes)}")
        graph.weights.append(flat)
        x = graph.dense(graph.add("Reshape", mixed, flat.name), hidden, hidden)
        x = graph.dense(graph.dense(x, hidden, 4 * hidden), 4 * hidden, hidden)
    assert cost(graph.save(tmp_path / "g.onnx", x)).flop == pytest.approx(22.35e9, rel=1e-3)


def test_weights_are_counted_in_their_own_type(tmp_path):
    graph = Graph("x", "batch", 4)
    graph.weights.append(onnx.numpy_helper.from_array(np.zeros((4, 8), np.float32), "w"))
    graph.weights.append(onnx.numpy_helper.from_array(np.zeros(10, np.int8), "q"))
    counted = cost(graph.save(tmp_path / "g.onnx", graph.add("Gemm", "x", "w")))
    assert counted == Cost(flop=2 * 8 * 4, weight_bytes=4 * 32 + 10, activation_bytes=32)


def test_groups_and_transposed_matrices_are_counted(tmp_path):
    graph = Graph("x", 1, 8, 4, 4)
    grouped = graph.add("Conv", "x", graph.weight(8, 1, 3, 3), pads=[1] * 4, group=8)
    assert cost(graph.save(tmp_path / "g.onnx", grouped)).flop == 2 * (8 * 16) * 9
    graph = Graph("x", 4, 6)
    product = graph.add("Gemm", "x", graph.weight(4, 5), transA=1)
    assert cost(graph.save(tmp_path / "h.onnx", product)).flop == 2 * (6 * 5) * 4


def test_an_unknown_shape_is_named_not_left_out(tmp_path):
    graph = Graph("x", "batch", "tokens", 4)
    path = graph.save(tmp_path / "g.onnx", graph.dense("x", 4, 8))
    with pytest.raises(ConfigError) as caught:
        cost(path)
    assert str(caught.value) == (
        "the cost of a model cannot be counted: an operation's shape is unknown\n"
        "  got:      MatMul 'MatMul0' of shape [1, 0, 8]\n"
        "  expected: fixed shapes but for the batch\n"
        "  next:     export the model with fixed input shapes"
    )


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match=r"cannot read the cost of .*g\.onnx"):
        cost(tmp_path / "g.onnx")


# --- kept in the cache ---


def artefact(path):
    return Artefact(kind="onnx", path=str(path), sha256="ab" * 32)


def test_a_graph_is_counted_once(tmp_path):
    graph = Graph("x", "batch", 4)
    path = graph.save(tmp_path / "g.onnx", graph.dense("x", 4, 8))
    cache = Cache(tmp_path / "cache")
    first = known(artefact(path), cache=cache, progress=pytest.fail)
    path.unlink()
    assert first == known(artefact(path), cache=cache, progress=pytest.fail) == Cost(flop=64, activation_bytes=32)


@pytest.mark.parametrize("module", ["onnx", None])
def test_a_cost_that_cannot_be_had_is_told_and_fails_nothing(tmp_path, monkeypatch, module):
    (tmp_path / "g.onnx").write_bytes(b"not a model")
    if module:
        monkeypatch.setitem(sys.modules, module, None)
    told = []
    assert known(artefact(tmp_path / "g.onnx"), cache=Cache(tmp_path / "cache"), progress=told.append) is None
    (line,) = told
    assert line.startswith("work per sample is not known: " + ("import of onnx" if module else "cannot read the cost"))
