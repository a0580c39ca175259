from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import jsonschema
import pytest

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import CaseResult, Comparison, Measured, Metric, Steady
from pytest_gpuperf.report import results

SCHEMA = Path(__file__).parents[3] / "docs" / "schema" / "results.json"


def test_golden(cases, fingerprint, golden):
    content = results.document("h200", fingerprint, cases, command="pytest --gpu-profile=h200", seconds=61.5)
    content["tool"] = "pytest-gpuperf"
    golden("results.json", json.dumps(content, indent=1, sort_keys=True) + "\n")


def test_fields_that_other_programs_rely_on(regressed, fingerprint):
    content = results.document("h200", fingerprint, [regressed])
    assert content["schema_version"] == 1
    assert content["profile"] == "h200"
    assert content["fingerprint"]["machine"] == "0123abcd"
    case = content["cases"][0]
    assert {name: case[name] for name in ("id", "model", "engine", "precision", "batch", "verdict", "reason")} == {
        "id": "suites/vision/test_resnet50.py::test_resnet50_fp16[8]",
        "model": "resnet50",
        "engine": "tensorrt",
        "precision": "fp16",
        "batch": 8,
        "verdict": "regressed",
        "reason": "latency p50 rose by 13.7 %",
    }
    p50 = case["metrics"]["latency_p50_ms"]
    assert {name: p50[name] for name in ("value", "unit", "n")} == {"value": 0.547, "unit": "ms", "n": 900}
    assert p50["lower"] == pytest.approx(0.53606)
    assert p50["upper"] == pytest.approx(0.55794)
    assert case["accuracy"]["top1_agreement"] == 0.984375


def test_what_is_written_is_what_is_read(tmp_path, cases, fingerprint):
    path = tmp_path / "out" / "results.json"
    path.parent.mkdir()
    results.write(path, results.document("h200", fingerprint, cases, started="2026-01-13T10:00:00+00:00", seconds=3.0))
    got = results.read(path)
    assert got.cases == tuple(cases)
    assert got.fingerprint == fingerprint
    assert (got.profile, got.started, got.seconds, got.is_complete) == ("h200", "2026-01-13T10:00:00+00:00", 3.0, True)


def test_no_field_of_a_record_is_forgotten():
    assert {field.name for field in dataclasses.fields(Measured)} == {*results.OF_MEASURED, "metrics"}
    assert {field.name for field in dataclasses.fields(CaseResult)} == {*results.OF_CASE, "verdict", "measured"}


def test_an_interrupted_session_without_a_machine(tmp_path):
    path = tmp_path / "results.json"
    results.write(path, results.document("cpu", None, [], is_complete=False))
    assert results.read(path) == results.Results(profile="cpu", fingerprint=None, cases=(), is_complete=False)


def test_nan_and_infinity_are_null_in_the_file_and_come_back(tmp_path, case, measured):
    endless = measured(
        metrics={
            "latency_p50_ms": Metric(value=1.0, unit="ms", upper=math.inf),
            "odd": Metric(value=math.nan, unit=""),
        },
        comparison=Comparison(
            ratio=1.0, lower=0.0, upper=math.inf, pairs=1, unit="process pair", mde_pct=math.inf, seconds=1.0
        ),
        steady=Steady(is_steady=False, warmup_runs=3, warmup_s=1.0, drift_pct=math.inf),
    )
    path = tmp_path / "results.json"
    results.write(path, results.document("cpu", None, [case(measured=endless)]))
    written = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert written["cases"][0]["metrics"]["latency_p50_ms"]["upper"] is None
    assert "odd" not in written["cases"][0]["metrics"]
    got = results.read(path).cases[0].measured
    assert got.comparison == endless.comparison
    assert got.steady == endless.steady


def test_a_finding_without_a_number_is_written(tmp_path, regressed):
    finding = dataclasses.replace(regressed.verdict.findings[0], measured=Metric(value=math.nan, unit="ms"))
    odd = dataclasses.replace(regressed, verdict=dataclasses.replace(regressed.verdict, findings=(finding,)))
    path = tmp_path / "results.json"
    results.write(path, results.document("cpu", None, [odd]))
    assert results.read(path).cases[0].verdict.findings[0].measured is None


def test_fields_from_the_future_are_ignored(tmp_path, cases):
    content = results.document("cpu", None, cases) | {"colour": "blue"}
    content["cases"][0]["mood"] = "good"
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    assert results.read(path).cases == tuple(cases)


def test_writing_leaves_nothing_else_behind(tmp_path, cases):
    path = tmp_path / "results.json"
    for _ in range(2):
        results.write(path, results.document("cpu", None, cases))
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix != ".lock"] == ["results.json"]


@pytest.mark.parametrize(
    ("text", "what", "got"),
    [
        ("", "invalid results file", "Input data was truncated"),
        ('{"schema_version": 1, "profile"', "invalid results file", "Input data was truncated"),
        ("<<<<<<< HEAD", "invalid results file", "JSON is malformed"),
        ("\ufffe{", "invalid results file", "JSON is malformed"),
        ("[]", "is not a results file that this version reads", "schema_version None"),
        ('{"schema_version": 2}', "is not a results file that this version reads", "schema_version 2"),
        ('{"schema_version": 1}', "invalid results file", "Object missing required field `profile`"),
        (
            '{"schema_version": 1, "profile": "x", "fingerprint": null, "cases": [{"id": 3}]}',
            "invalid results file",
            "Expected `str`, got `int` - at `$.cases[0].id`",
        ),
        (
            '{"schema_version": 1, "profile": "x", "fingerprint": null, "cases": 7}',
            "invalid results file",
            "Expected `array`, got `int` - at `$.cases`",
        ),
    ],
)
def test_bad_files_are_named_with_the_place(tmp_path, text, what, got):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        results.read(path)
    assert what in caught.value.what
    assert str(path) in caught.value.what
    assert got in caught.value.got


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        results.read(tmp_path / "none.json")
    assert str(caught.value) == (
        f"cannot read results file {tmp_path / 'none.json'}\n  got:      No such file or directory"
    )


def test_published_schema_is_the_code_s_own():
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(results.schema()))


def test_what_is_written_is_valid_by_the_published_schema(cases, fingerprint):
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    content = json.loads(json.dumps(results.document("h200", fingerprint, cases)))
    assert [error.message for error in validator.iter_errors(content)] == []
    content["cases"][0]["batch"] = "eight"
    assert [error.message for error in validator.iter_errors(content)] == ["'eight' is not of type 'integer'"]
