"""Bundles: what goes in comes out, and what is damaged does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pytest_gpuperf.convert.bundle import MANIFEST, Bundle, Writer
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import BatchSpec, Cost

GRAPH = np.random.default_rng(0).bytes(2560)
ARRAYS = {"images": np.arange(12, dtype=np.float32).reshape(3, 4), "labels": np.array([1, 2, 3])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(GRAPH)
    with Writer(tmp_path / "bundle", piece_bytes=1000) as writer:
        writer.add_arrays("inputs/net/3/0", ARRAYS)
        writer.add_file("onnx/net/fp16", tmp_path / "model.onnx")
    return tmp_path / "bundle"


def test_what_goes_in_comes_out(folder, tmp_path):
    bundle = Bundle(folder)
    assert bundle.names() == ("inputs/net/3/0", "onnx/net/fp16")
    artefact = bundle.artefact("net", "fp16", cache=tmp_path / "cache")
    assert Path(artefact.path).read_bytes() == GRAPH
    assert artefact.recipe == {"model": "net", "precision": "fp16", "bundle": "onnx/net/fp16"}
    arrays = bundle.arrays("inputs/net/3/0")
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype


def test_a_graph_comes_with_what_a_sample_costs(tmp_path):
    counted = Cost(flop=7_715_946_496.0, weight_bytes=51_060_944.0, activation_bytes=21_176_272.0)
    with Writer(tmp_path / "bundle") as writer:
        writer.add_cost("net", "fp16", counted)
    assert Bundle(tmp_path / "bundle").cost("net", "fp16") == counted
    assert Bundle(tmp_path / "bundle").cost("net", "int8") is None


def test_no_piece_is_larger_than_allowed(folder):
    sizes = [path.stat().st_size for path in sorted(folder.glob("piece.*"))]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {1000}
    assert 0 < sizes[-1] <= 1000


def test_what_deflates_is_stored_deflated_and_comes_out_whole(tmp_path):
    graph = bytes(range(256)) * 100
    (tmp_path / "model.onnx").write_bytes(graph)
    with Writer(tmp_path / "bundle") as writer:
        writer.add_file("onnx/net/int8", tmp_path / "model.onnx")
    assert (tmp_path / "bundle" / "piece.00").stat().st_size < len(graph) / 2
    artefact = Bundle(tmp_path / "bundle").artefact("net", "int8", cache=tmp_path / "cache")
    assert Path(artefact.path).read_bytes() == graph


@pytest.fixture
def data(tmp_path: Path) -> Bundle:
    """Three samples: inputs 0, 1, 2, their labels, and outputs ten times as large."""
    numbers = np.arange(3, dtype=np.float32)[:, None]
    with Writer(tmp_path / "bundle") as writer:
        writer.add_arrays("inputs/net/3/7", {"x": numbers})
        writer.add_arrays("labels/net/3/7", {"labels": np.array([5, 6, 7])})
        writer.add_arrays("reference/net/3/7", {"y": 10 * numbers})
    return Bundle(tmp_path / "bundle")


@pytest.mark.parametrize(("samples", "expected"), [(2, [0, 1]), (3, [0, 1, 2]), (8, [0, 1, 2, 0, 1, 2, 0, 1])])
def test_a_set_has_the_size_that_is_asked_for(data, samples, expected):
    spec = BatchSpec(inputs="numbers", batch=1, samples=samples, seed=7)
    batches = data.batches("net", spec)
    assert batches.arrays["x"][:, 0].tolist() == expected
    assert batches.labels.tolist() == [5 + number for number in expected]
    assert data.reference("net", spec)["y"][:, 0].tolist() == [10 * number for number in expected]
    assert len(list(batches.batches())) == samples
    assert (
        batches.digest != data.batches("net", BatchSpec(inputs="numbers", batch=1, samples=samples + 1, seed=7)).digest
    )


def test_a_set_with_another_seed_is_not_there(data):
    with pytest.raises(ConfigError, match="the bundle lacks inputs/net/3/0") as caught:
        data.batches("net", BatchSpec(inputs="numbers", batch=1, samples=3))
    assert caught.value.expected == "inputs/net/3/7"


def test_a_damaged_piece_is_not_used(folder, tmp_path):
    piece = max(folder.glob("piece.*"))
    content = bytearray(piece.read_bytes())
    content[-1] ^= 1
    piece.write_bytes(content)
    with pytest.raises(ConfigError, match="onnx/net/fp16 in the bundle is damaged"):
        Bundle(folder).artefact("net", "fp16", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.onnx"))
    assert Bundle(folder).arrays("inputs/net/3/0")


def test_a_missing_piece_is_named(folder, tmp_path):
    max(folder.glob("piece.*")).unlink()
    with pytest.raises(ConfigError, match="a piece of the bundle with onnx/net/fp16 cannot be read") as caught:
        Bundle(folder).artefact("net", "fp16", cache=tmp_path / "cache")
    assert "piece.0" in str(caught.value.got)


def test_an_unpacked_graph_that_was_changed_is_unpacked_again(folder, tmp_path):
    artefact = Bundle(folder).artefact("net", "fp16", cache=tmp_path / "cache")
    Path(artefact.path).write_bytes(b"planted")
    again = Bundle(folder).artefact("net", "fp16", cache=tmp_path / "cache")
    assert again == artefact
    assert Path(again.path).read_bytes() == GRAPH


def test_a_missing_member_says_what_there_is(folder, tmp_path):
    with pytest.raises(ConfigError, match="the bundle lacks onnx/net/int8") as caught:
        Bundle(folder).artefact("net", "int8", cache=tmp_path / "cache")
    assert caught.value.expected == "onnx/net/fp16"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 2, "piece_bytes": 1, "members": {"a": {}}}'])
def test_a_damaged_manifest(folder, content):
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ConfigError, match="holds no bundle"):
        Bundle(folder)


def test_another_version(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, "schema_version": 3}))
    with pytest.raises(ConfigError, match="is a bundle of another version"):
        Bundle(folder)


def test_a_writer_that_fails_leaves_no_manifest(tmp_path):
    def write() -> None:
        with Writer(tmp_path / "bundle") as writer:
            writer.add_arrays("inputs/net/3/0", ARRAYS)
            writer.add_file("onnx/net/fp16", tmp_path / "none.onnx")

    with pytest.raises(FileNotFoundError):
        write()
    with pytest.raises(ConfigError, match="holds no bundle"):
        Bundle(tmp_path / "bundle")


def test_a_used_folder_is_left_alone(folder):
    with pytest.raises(ConfigError, match="a bundle needs an empty folder"):
        Writer(folder)


def test_objects_are_never_unpickled(tmp_path):
    with Writer(tmp_path / "bundle") as writer:
        writer.add_arrays("inputs/net/1/0", {"evil": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Bundle(tmp_path / "bundle").arrays("inputs/net/1/0")
