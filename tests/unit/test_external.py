"""Tensors in other files are found wherever a graph may hide them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_gpuperf.convert import external
from pytest_gpuperf.errors import ConfigError

onnx = pytest.importorskip("onnx")


def elsewhere(name):
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    return tensor


def branch(name):
    return onnx.helper.make_graph([], "branch", [], [], [elsewhere(name)])


def constant(name):
    return onnx.helper.make_node("Constant", [], ["c"], value=elsewhere(name))


def sparse(name):
    values = onnx.TensorProto(name=name, data_type=1, dims=[1], float_data=[1.0])
    return onnx.SparseTensorProto(values=values, indices=elsewhere(name), dims=[4])


HIDING = {
    "initializer": {"initializer": [elsewhere("it")]},
    "constant": {"nodes": [constant("it")]},
    "subgraph": {"nodes": [onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch("it"))]},
    "subgraphs": {"nodes": [onnx.helper.make_node("Many", ["x"], ["y"], bodies=[branch("it")])]},
    "sparse": {"sparse_initializer": [sparse("it")]},
}


def write(path: Path, *, functions=(), nodes=(), **graph) -> Path:
    made = onnx.helper.make_graph(list(nodes), "graph", [], [], **graph)
    onnx.save(onnx.helper.make_model(made, functions=list(functions)), path)
    return path


@pytest.mark.parametrize("place", HIDING)
def test_a_tensor_in_another_file_is_refused(tmp_path, place):
    path = write(tmp_path / "model.onnx", **HIDING[place])
    with pytest.raises(ConfigError, match="keeps tensors in another file") as caught:
        external.refuse(path)
    assert "'it' in '../secret'" in str(caught.value)
    assert "expected: a model that is whole in its file" in str(caught.value)


def test_a_function_may_hide_one_too(tmp_path):
    function = onnx.helper.make_function("d", "f", [], ["c"], [constant("it")], [onnx.helper.make_opsetid("", 17)])
    with pytest.raises(ConfigError, match=r"'it' in '\.\./secret'"):
        external.refuse(write(tmp_path / "model.onnx", functions=[function]))


def test_a_whole_file_is_fine_and_damage_is_the_loaders_to_name(tmp_path):
    external.refuse(write(tmp_path / "model.onnx"))
    (tmp_path / "damaged.onnx").write_bytes(b"no model")
    external.refuse(tmp_path / "damaged.onnx")
