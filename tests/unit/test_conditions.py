from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import conditions
from pytest_gpuperf.records import (
    Artefact,
    BatchSpec,
    Differences,
    EngineInfo,
    EngineSpec,
    Fingerprint,
    Model,
    Tolerance,
)

APPROVED = {
    "model": "resnet50",
    "engine": "tensorrt",
    "tensorrt_version": "8.6.0",
    "precision": "fp16",
    "batch": "8",
    "inputs_digest": "ab12",
    "device": "gpu:0",
    "provider": "TensorRT",
    "artefact_sha256": "aaaa",
    "graph_sha256": "cccc",
    "engine_sha256": "eeee",
    "machine": "m1",
    "mode.cuda_graph": "on",
    "options.streams": "1",
    "hardware.gpu": "2 x NVIDIA A40",
    "hardware.power_limit_w": "300",
    "host": "Xeon, 16",
    "software.driver": "535.54",
    "software.cudnn": "8.9.7",
    "gpu_uuid": "GPU-1",
    "clock_mhz": "1740",
    "temperature_c": "61",
}


def mutated(**changes: str) -> Differences:
    return conditions.diff({**APPROVED, **{key.replace("__", "."): value for key, value in changes.items()}}, APPROVED)


MISMATCHES = [
    ("model", "bert_base"),
    ("engine", "onnxruntime"),
    ("tensorrt_version", "10.2.0"),
    ("precision", "int8"),
    ("batch", "16"),
    ("inputs_digest", "ffff"),
    ("device", "cpu"),
    ("provider", "CPUExecutionProvider"),
    ("graph_sha256", "dddd"),
    ("mode.cuda_graph", "off"),
    ("options.streams", "2"),
    ("hardware.gpu", "2 x NVIDIA H100"),
    ("hardware.power_limit_w", "150"),
    ("software.cudnn", "9.1.0"),
    ("nobody_thought_of", "it"),
]
WIDENINGS = [
    ("machine", "m2"),
    ("tensorrt_version", "8.5.3"),
    ("software.driver", "580.95"),
    ("software.cudnn", "8.9.2"),
    ("gpu_uuid", "GPU-2"),
    ("host", "EPYC, 8"),
    ("artefact_sha256", "bbbb"),
    ("engine_sha256", "ffff"),
    ("hardware.gpu", "1 x NVIDIA A40"),
]
RECORDED = [("clock_mhz", "1200"), ("temperature_c", "75")]


@pytest.mark.parametrize(("name", "value"), MISMATCHES)
def test_what_must_match_is_refused_with_both_values(name, value):
    differences = conditions.diff({**APPROVED, name: value}, APPROVED)
    was = APPROVED.get(name, "(absent)")
    assert differences == Differences(mismatched={name: (was, value)})
    label = {"graph_sha256": "graph"}.get(name, name)
    assert conditions.describe(differences) == (f"{label} {was} -> {value}: not comparable",)


@pytest.mark.parametrize(("name", "value"), WIDENINGS)
def test_what_widens_is_named_and_doubles_the_tolerance(name, value):
    differences = conditions.diff({**APPROVED, name: value}, APPROVED)
    assert differences == Differences(widening={name: (APPROVED[name], value)})
    (phrase,) = conditions.describe(differences)
    assert phrase.endswith(f"{APPROVED[name]} -> {value}: tolerance x 2")
    assert conditions.widen(Tolerance(default_pct=3.0, per_metric_pct={"a": 5.0}), differences) == Tolerance(
        default_pct=6.0, per_metric_pct={"a": 10.0}
    )


@pytest.mark.parametrize(("name", "value"), RECORDED)
def test_what_is_recorded_changes_nothing(name, value):
    differences = conditions.diff({**APPROVED, name: value}, APPROVED)
    assert differences == Differences(recorded={name: (APPROVED[name], value)})
    assert conditions.describe(differences) == (f"{name} {APPROVED[name]} -> {value}: recorded only",)
    tolerance = Tolerance(default_pct=3.0)
    assert conditions.widen(tolerance, differences) is tolerance


@pytest.mark.parametrize("name", sorted(APPROVED))
def test_every_single_field_matters(name):
    for measured in ({**APPROVED, name: "another"}, {key: value for key, value in APPROVED.items() if key != name}):
        differences = conditions.diff(measured, APPROVED)
        assert differences != Differences()
        if name not in {"clock_mhz", "temperature_c"}:
            assert differences.mismatched or differences.widening


def test_a_rebuild_widens_and_another_graph_is_another_engine():
    rebuilt = mutated(engine_sha256="ffff")
    assert conditions.describe(rebuilt) == ("engine rebuilt eeee -> ffff: tolerance x 2",)
    other = mutated(engine_sha256="ffff", graph_sha256="dddd", artefact_sha256="bbbb")
    assert set(other.mismatched) == {"engine_sha256", "graph_sha256", "artefact_sha256"}


def test_a_model_converted_again_by_the_same_recipe_is_only_recorded():
    was, now = {"artefact_sha256": "a", "recipe_sha256": "r"}, {"artefact_sha256": "b", "recipe_sha256": "r"}
    assert conditions.diff(now, was) == Differences(recorded={"artefact_sha256": ("a", "b")})
    assert conditions.diff({**now, "recipe_sha256": "s"}, was).mismatched == {"artefact_sha256": ("a", "b")}


def test_an_engine_rebuilt_from_a_model_converted_again_widens():
    was = {"artefact_sha256": "a", "recipe_sha256": "r", "engine_sha256": "e"}
    differences = conditions.diff({"artefact_sha256": "b", "recipe_sha256": "r", "engine_sha256": "f"}, was)
    assert differences == Differences(widening={"engine_sha256": ("e", "f")}, recorded={"artefact_sha256": ("a", "b")})


def test_what_tensorrt_reports_beside_its_version_is_no_version():
    names = collected(versions={"tensorrt": "8.6.0", "engine_sha256": "e", "cuda_driver": "12.8", "gpu": "H200"})
    assert names.items() >= {"tensorrt_version": "8.6.0", "engine_sha256": "e", "cuda_driver": "12.8"}.items()
    assert names["gpu"] == "H200"


def test_an_artefact_of_an_unknown_origin_must_be_the_same_file():
    was, now = {"artefact_sha256": "a"}, {"artefact_sha256": "b"}
    assert conditions.diff(now, was).mismatched == {"artefact_sha256": ("a", "b")}


def test_another_recipe_with_the_same_artefact_is_only_recorded():
    was, now = {"artefact_sha256": "a", "recipe_sha256": "r"}, {"artefact_sha256": "a", "recipe_sha256": "s"}
    assert conditions.diff(now, was) == Differences(recorded={"recipe_sha256": ("r", "s")})


def test_a_version_that_is_missing_on_one_side_is_a_mismatch():
    without = {key: value for key, value in APPROVED.items() if key != "tensorrt_version"}
    assert conditions.diff(without, APPROVED).mismatched == {"tensorrt_version": ("8.6.0", "(absent)")}


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=5)), st.dictionaries(st.text(max_size=12), st.text()))
def test_each_difference_has_one_class_and_equals_differ_in_nothing(one, other):
    assert conditions.diff(one, one) == Differences()
    there, back = conditions.diff(one, other), conditions.diff(other, one)
    parts = [set(part) for part in (there.mismatched, there.widening, there.recorded)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert set.union(*parts) == {key for key in {**one, **other} if one.get(key) != other.get(key)}
    assert parts == [set(part) for part in (back.mismatched, back.widening, back.recorded)]


def collected(**info: object) -> dict[str, str]:
    artefact = Artefact(kind="onnx", path="/p", sha256="aa", recipe={"graph_sha256": "gg", "opset": "17"})
    made = EngineInfo(
        kind="onnxruntime",
        device="cpu",
        provider="CPUExecutionProvider",
        precision="fp32",
        artefact=artefact,
        inputs=(),
        outputs=(),
        versions={"onnxruntime": "1.32.0"},
        mode={"threads": "1"},
    )
    model = Model(name="resnet50", source="m.py:f", inputs="images-224")
    return conditions.collect(
        EngineSpec(kind="onnxruntime", model=model, options={"threads": "1"}),
        BatchSpec(inputs="images-224", batch=8, samples=32),
        replace(made, **info),
        Fingerprint(machine="m", hardware={"cpu": "EPYC"}, software={"python": "3.11.7"}),
        "dd",
    )


def test_collected_conditions_name_everything_once():
    digest = collected().pop("recipe_sha256")
    assert len(digest) == 64
    assert collected() == {
        "model": "resnet50",
        "engine": "onnxruntime",
        "precision": "fp32",
        "batch": "8",
        "inputs": "images-224, 32 samples, seed 0",
        "inputs_digest": "dd",
        "device": "cpu",
        "provider": "CPUExecutionProvider",
        "recipe_sha256": digest,
        "graph_sha256": "gg",
        "artefact_sha256": "aa",
        "machine": "m",
        "onnxruntime_version": "1.32.0",
        "mode.threads": "1",
        "options.threads": "1",
        "host": "EPYC",
        "software.python": "3.11.7",
    }


def test_fifty_reruns_have_the_same_conditions():
    first = collected()
    assert all(conditions.diff(collected(), first) == Differences() for _ in range(50))


def test_a_fallback_to_another_device_is_a_mismatch():
    differences = conditions.diff(collected(device="gpu:1", provider="CUDAExecutionProvider"), collected())
    assert set(differences.mismatched) == {"device", "provider"}


# --- what makes one line over time ---


def test_a_digest_follows_what_must_match_and_no_more():
    one = {
        "batch": "8",
        "driver": "580.95",
        "clock": "1980",
        "machine": "m",
        "tensorrt_version": "8.6.0",
        "artefact_sha256": "a",
        "graph_sha256": "b",
        "options.graph": "on",
    }
    same = [("driver", "581"), ("clock", "1"), ("machine", "n"), ("tensorrt_version", "8.7"), ("artefact_sha256", "c"),
            ("graph_sha256", "d")]  # fmt: skip
    other = [("batch", "16"), ("tensorrt_version", "10.0"), ("options.graph", "off"), ("novel", "x")]
    digest = conditions.digest(one)
    assert {conditions.digest({**one, name: value}) for name, value in same} == {digest}
    assert digest not in {conditions.digest({**one, name: value}) for name, value in other}


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ({"engine_sha256": "b"}, True),
        ({"engine_sha256": "b", "machine": "b"}, True),
        ({"engine_sha256": "b", "artefact_sha256": "b"}, False),
        ({"engine_sha256": "b", "graph_sha256": "b"}, False),
        ({"machine": "b"}, False),
        ({}, False),
    ],
)
def test_an_engine_of_the_very_same_file_was_built_anew(changed, rebuilt):
    was = dict.fromkeys(("engine_sha256", "artefact_sha256", "graph_sha256", "recipe_sha256", "machine"), "a")
    assert conditions.is_rebuilt(conditions.diff({**was, **changed}, was)) is rebuilt
