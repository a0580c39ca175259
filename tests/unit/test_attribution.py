"""Layers of two programs side by side."""

from __future__ import annotations

import json

import pytest
from fakes import cases
from fakes.engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf.attribution import pair
from pytest_gpuperf.commands import explain
from pytest_gpuperf.engines.ort import layers as ort
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Artefact, Layer


def rows(measured, reference):
    return [(row.name, row.measured_ms, row.reference_ms, row.difference_ms) for row in pair(measured, reference)]


def test_the_largest_difference_comes_first_whichever_way():
    assert rows({"a": 2.0, "b": 1.0, "c": 5.0}, {"a": 1.5, "b": 4.0, "c": 5.0}) == [
        ("b", 1.0, 4.0, -3.0),
        ("a", 2.0, 1.5, 0.5),
        ("c", 5.0, 5.0, 0.0),
    ]


def test_a_layer_that_one_side_lacks_counts_in_full():
    assert rows({"a": 1.0, "reformat": 0.5}, {"a": 1.0, "pad": 0.25}) == [
        ("reformat", 0.5, None, 0.5),
        ("pad", None, 0.25, -0.25),
        ("a", 1.0, 1.0, 0.0),
    ]


def test_what_was_fused_stands_beside_its_parts():
    fused, apart = {"conv1 + relu1": 1.0, "fc": 1.0}, {"conv1": 0.75, "relu1": 0.5, "fc": 1.0}
    assert rows(apart, fused)[0] == ("conv1, relu1, conv1 + relu1", 1.25, 1.0, 0.25)
    assert rows({"a + b": 1.0}, {"b + c": 1.0, "c || d": 1.0}) == [("a + b, b + c, c || d", 1.0, 2.0, -1.0)]


def test_without_a_reference_the_slowest_comes_first():
    assert rows({"a": 1.0, "b": 2.0}, None) == [("b", 2.0, None, None), ("a", 1.0, None, None)]


NAMES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3).map(" + ".join)
TIMES = st.dictionaries(NAMES, st.integers(0, 1000).map(float))


@given(TIMES, TIMES)
def test_nothing_is_lost_and_nothing_counts_twice(measured, reference):
    found = pair(measured, reference)
    assert sum(row.measured_ms or 0 for row in found) == sum(measured.values())
    assert sum(row.reference_ms or 0 for row in found) == sum(reference.values())
    assert sum(row.difference_ms for row in found) == sum(measured.values()) - sum(reference.values())
    names = [name for row in found for name in row.name.split(", ")]
    assert sorted(names) == sorted({*measured, *reference})


def test_onnx_runtimes_trace_by_run():
    def node(name, us):
        return {"cat": "Node", "name": name, "dur": us, "args": {"op_name": "Conv"}}

    run = {"cat": "Session", "name": "model_run", "dur": 900}
    trace = [
        {"cat": "Session", "name": "session_initialization", "dur": 5},
        *(node("conv_kernel_time", 300), node("conv_fence_before", 7), node("_kernel_time", 100), run),
        *(node("conv_nchwc_kernel_time", 200), node("conv_token_49_kernel_time", 50), run),
    ]
    assert ort.runs(json.dumps(trace)) == [{"conv": 0.3, "Conv": 0.1}, {"conv": 0.25}]


def test_an_engines_profile_is_the_median_by_layer(tmp_path, monkeypatch):
    engine = FakeEngine(cases.engine())
    with pytest.raises(Exception, match="engine is not open"):
        engine.profile({}, calls=1)
    engine.open(Artefact(kind="none", path="", sha256=""), cache=tmp_path, progress=print)
    with pytest.raises(ConfigError, match="cannot tell what each layer takes"):
        engine.profile({}, calls=3)
    runs = [{"a": 1.0, "b": 5.0}, {"a": 2.0}, {"a": 9.0, "b": 3.0}]
    monkeypatch.setattr(engine, "_profile", lambda batch, calls: runs[:calls])
    assert engine.profile({}, calls=3) == {"a": 2.0, "b": 3.0}


def test_the_table(tmp_path):
    from pytest_gpuperf.records import CaseResult, Status, Verdict

    case = CaseResult(
        id="t.py::t", suite="t", model="m", engine="e", precision="fp32", batch=1, reference="u.py::u",
        verdict=Verdict(status=Status.PASSED, reason=""),
        layers=pair({"a": 1.0, "b": 0.5}, {"a": 0.25, "c": 0.125}),
    )  # fmt: skip
    assert explain.table(case, 2) == [
        "t.py::t   against u.py::u",
        " measured ms  reference ms  difference ms  layer",
        "      1.0000        0.2500        +0.7500  a",
        "      0.5000             -        +0.5000  b",
        "      1.5000        0.3750        +1.1250  all 3 layers",
    ]
    assert explain.beside(case, case).layers[0] == Layer(name="a", measured_ms=1.0, reference_ms=1.0, difference_ms=0.0)


def test_a_file_is_short_for_an_engine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").touch()
    assert explain.spelled("net.onnx") == f"engine:{tmp_path / 'net.onnx'}"
    assert explain.spelled("git:HEAD") == "git:HEAD"
