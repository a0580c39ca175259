"""Engines on disk: built once, never loaded unless recorded; and the precision that the inspector tells."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from pytest_gpuperf.engines.trt import layers
from pytest_gpuperf.engines.trt.builder import Built
from pytest_gpuperf.engines.trt.store import Store

RECIPE = {"graph": "ab", "tensorrt": "tensorrt 8.6.0", "device": "GPU 8.6", "precision": "fp16", "max_batch": "8"}


class Builder:
    def __init__(self) -> None:
        self.timing_caches: list[bytes] = []

    def __call__(self, timing_cache: bytes) -> Built:
        self.timing_caches.append(timing_cache)
        return Built(engine=b"engine %d" % len(self.timing_caches), timing_cache=b"timing")


def test_an_engine_is_built_once(tmp_path):
    build, said = Builder(), []
    entries = [Store(tmp_path).get_or_build(RECIPE, build, progress=said.append) for _ in range(2)]
    assert [entry.engine for entry in entries] == [b"engine 1"] * 2
    assert entries[1].recipe == RECIPE
    assert build.timing_caches == [b""]
    assert said == ["building a TensorRT engine, fp16"]


@pytest.mark.parametrize("field", RECIPE)
def test_any_other_condition_is_another_engine(tmp_path, field):
    build = Builder()
    Store(tmp_path).get_or_build(RECIPE, build, progress=print)
    Store(tmp_path).get_or_build({**RECIPE, field: "other"}, build, progress=print)
    # The timing cache is one for a graph, a TensorRT and a GPU; 8.6 fails on that of another graph.
    assert build.timing_caches == [b"", b"" if field in {"graph", "tensorrt", "device"} else b"timing"]


def test_an_engine_with_another_sha256_is_built_again(tmp_path):
    build, said = Builder(), []
    Store(tmp_path).get_or_build(RECIPE, build, progress=said.append)
    [path] = tmp_path.glob("*.engine")
    path.write_bytes(b"planted")
    assert Store(tmp_path).get_or_build(RECIPE, build, progress=said.append).engine == b"engine 2"
    assert said[1] == f"engine {path.name} does not have the recorded sha256 and is not loaded; building it again"


@pytest.mark.parametrize("record", [None, "", "{}", '{"sha256": "x", "build_s": 1, "recipe": 3}'])
def test_an_engine_without_a_sound_record_is_built_again(tmp_path, record):
    build = Builder()
    Store(tmp_path).get_or_build(RECIPE, build, progress=print)
    [path] = tmp_path.glob("*.json")
    path.unlink()
    if record is not None:
        path.write_text(record)
    assert Store(tmp_path).get_or_build(RECIPE, build, progress=print).engine == b"engine 2"


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(timing_cache: bytes) -> Built:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).get_or_build(RECIPE, fail, progress=print)
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def ask(folder: Path) -> None:
    def build(timing_cache: bytes) -> Built:
        (folder / "built").open("a").write("x")
        return Built(engine=b"engine")

    Store(folder / "store").get_or_build(RECIPE, build, progress=print)


def test_two_processes_build_once(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=ask, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert (tmp_path / "built").read_text() == "x"


def inspection(*found: object) -> str:
    return json.dumps({"Layers": list(found), "Bindings": []})


def convolution(kind: str, count: int = 1) -> dict[str, object]:
    return {"LayerType": "CaskConvolution", "Weights": {"Type": kind, "Count": count}}


def multiplication(datatype: str) -> dict[str, object]:
    return {"LayerType": "gemm", "Inputs": [{"Name": "x", "Format/Datatype": datatype}], "Weights": {"Count": 0}}


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        ([convolution("Half")], "fp16"),
        ([convolution("Float")], "fp32"),
        ([convolution("Int8", 25), convolution("Half", 2)], "int8"),
        ([convolution("Int8", 2), convolution("Half", 25)], "fp16"),
        ([multiplication("Row major linear FP16 format (kLINEAR)")], "fp16"),
        ([multiplication("Half")], "fp16"),
        ([multiplication("Thirty-two wide channel vectorized row major INT8 format")], "int8"),
        ([{"LayerType": "Reformat", "Inputs": [{"Format/Datatype": "Row major linear FP32 format (kLINEAR)"}]}], None),
        ([{"LayerType": "Myelin", "Name": "{ForeignNode[matmul]}", "Inputs": [{"Format/Datatype": "FP32"}]}], None),
        (["conv1"], None),
        ([], None),
    ],
)
def test_the_precision_that_most_arithmetic_runs_in(found, precision):
    assert layers.precision(inspection(*found)) == precision
