"""``gpuperf explain`` with real ONNX Runtime: of two programs that differ in one layer, that layer comes first."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from fakes.repository import isolate

from pytest_gpuperf import cli
from pytest_gpuperf.report import results

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WIDTH = 64
SUITE = """
import pytest
from pytest_gpuperf import Model

@pytest.mark.parametrize("graph", ["fast", "slow"])
def test_net(engine, batched_inputs, gpuperf, graph):
    net = Model(name=graph, source=f"{graph}.onnx", inputs="net.py:rows")
    gpuperf.check(engine(net, "onnxruntime", threads=1), batched_inputs("net.py:rows", 4))
"""
INPUTS = """
import numpy as np

def rows(samples, seed):
    return {"x": np.random.default_rng(seed).standard_normal((samples, 64), np.float32)}
"""


def graph(path: Path, *, widest: int) -> None:
    """Write three products of tanhs; the second goes by ``widest`` columns and back."""
    from onnx import TensorProto, helper, numpy_helper

    widths = [WIDTH, WIDTH, widest, WIDTH, WIDTH]
    generator = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for index, (rows, columns) in enumerate(itertools.pairwise(widths)):
        weights.append(numpy_helper.from_array(generator.standard_normal((rows, columns), np.float32), f"w{index}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{index}"], [f"p{index}"], name=f"layer{index}/product"))
        value = "y" if index == len(widths) - 2 else f"t{index}"
        nodes.append(helper.make_node("Tanh", [f"p{index}"], [value], name=f"layer{index}/tanh"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in "xy")
    body = helper.make_graph(nodes, "net", [x], [y], weights)
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(pytester, monkeypatch)
    graph(pytester.path / "fast.onnx", widest=WIDTH)
    graph(pytester.path / "slow.onnx", widest=100 * WIDTH)
    (pytester.path / "test_suite.py").write_text(SUITE)
    (pytester.path / "net.py").write_text(INPUTS)
    return pytester.path


@pytest.mark.parametrize("against", ["test_suite.py::test_net[fast]", "fast.onnx"])
def test_the_planted_slow_layer_comes_first(folder: Path, capsys: pytest.CaptureFixture[str], against: str) -> None:
    status = cli.main(
        ["explain", "test_suite.py::test_net[slow]", "--against", against, "--profile", "cpu", "--top", "3"]
    )
    told = capsys.readouterr().out.splitlines()
    assert status == 0, told
    assert told[0].startswith("test_suite.py::test_net[slow]   against ")
    (case,) = results.read(folder / ".gpuperf" / "explain" / "results.json").cases
    worst = {layer.name for layer in case.layers[:3]}
    assert {"layer1/product", "layer2/product"} < worst
    assert worst <= {"layer1/product", "layer2/product", "layer1/tanh"}
    assert [line.split()[-1] for line in told[2:5]] == [layer.name for layer in case.layers[:3]]
    for layer in case.layers[:3]:
        assert layer.measured_ms > layer.reference_ms
        assert layer.difference_ms == pytest.approx(layer.measured_ms - layer.reference_ms)
    assert len(case.layers) == 8
    assert "all 8 layers" in told[5]
    assert told[6].endswith("results.json")


def test_what_cannot_be_explained_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "test_suite.py::test_none", "--profile", "cpu"]) == 4
    told = capsys.readouterr().err
    assert "the layers of test_suite.py::test_none cannot be timed" in told
    assert "not found" in told
    assert cli.main(["explain", "test_suite.py::test_net[slow]", "--profile", "cpu", "--top", "0"]) == 4
    assert "--top is no number of layers" in capsys.readouterr().err
