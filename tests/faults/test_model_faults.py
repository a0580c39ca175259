"""Model files that must not be followed (row 49 of docs/faults.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_gpuperf.convert import external
from pytest_gpuperf.errors import ConfigError

onnx = pytest.importorskip("onnx")


def model(path: Path, location: str | None, *, place: str = "initializer") -> Path:
    """Write a model whose tensor ``w`` lies at ``location``, or in the file itself."""
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    if location is not None:
        onnx.external_data_helper.set_external_data(tensor, location)
        tensor.ClearField("raw_data")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    nodes = [constant] if place == "constant" else []
    if place == "subgraph":
        inner = onnx.helper.make_graph([], "inner", [], [], initializer=[tensor])
        nodes = [onnx.helper.make_node("If", ["y"], ["z"], then_branch=inner, else_branch=inner)]
    graph = onnx.helper.make_graph(nodes, "g", [], [], initializer=[tensor] if place == "initializer" else [])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "weights.bin"])
def test_row49_external_data_is_refused_before_any_library_follows_it(tmp_path, place, location):
    path = model(tmp_path / "m.onnx", location, place=place)
    with pytest.raises(ConfigError) as caught:
        external.refuse(path)
    assert str(caught.value) == (
        "an ONNX file that keeps tensors in another file\n"
        f"  got:      {path}: 'w' in '{location}'\n"
        "  expected: a model that is whole in its file\n"
        "  next:     onnx.save(onnx.load(PATH), WHOLE), which puts everything into one file"
    )


@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
def test_row49_a_whole_model_is_fine(tmp_path, place):
    external.refuse(model(tmp_path / "m.onnx", None, place=place))


def test_row49_what_is_no_model_is_left_to_the_checker(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    external.refuse(path)
