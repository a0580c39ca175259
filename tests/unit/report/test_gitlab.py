from __future__ import annotations

import dataclasses
import json

import jsonschema
import pytest
from prometheus_client.openmetrics import parser as openmetrics

from pytest_gpuperf.records import Status
from pytest_gpuperf.report import formats, gitlab
from pytest_gpuperf.report.results import Results


def entries(*cases, profile="h200"):
    return json.loads(gitlab.code_quality([Results(profile=profile, fingerprint=None, cases=cases)]))


def test_an_entry_has_what_gitlab_requires(regressed):
    (entry,) = entries(regressed)
    assert entry["check_name"] == "gpuperf-regressed"
    assert entry["severity"] == "critical"
    assert entry["location"] == {"path": "suites/vision/test_resnet50.py", "lines": {"begin": 17}}
    assert entry["description"].startswith(
        f"{regressed.id} on h200: regressed: latency p50 rose by 13.7 %; latency p50"
    )


def test_the_fingerprint_names_the_finding_and_not_its_numbers(regressed, case):
    (first,) = entries(regressed)
    (again,) = entries(
        dataclasses.replace(regressed, verdict=dataclasses.replace(regressed.verdict, reason="rose by 15.1 %"))
    )
    (elsewhere,) = entries(regressed, profile="a40")
    (other,) = entries(case("test_other", Status.REGRESSED))
    assert first["fingerprint"] == again["fingerprint"]
    assert len({first["fingerprint"], elsewhere["fingerprint"], other["fingerprint"]}) == 3


def test_every_status_that_is_not_green_has_a_severity(case):
    for status in Status:
        assert len(entries(case("test_a", status))) == (status not in {Status.PASSED, Status.IMPROVED})


# https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format; the server wants a severity, and shows a
# finding only where its path is relative to the repository.
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "location", "severity"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "pattern": "^[a-z_-]+$"},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^(?!/|\\./).+"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def test_the_report_has_the_form_that_gitlab_documents(cases, case):
    found = entries(*cases, case("test_lineless", Status.NEW, path="", line=0))
    assert len(found) == 5
    assert [error.message for error in VALIDATOR.iter_errors(found)] == []
    assert len({entry["fingerprint"] for entry in found}) == 5


@pytest.mark.parametrize("wound", [{"severity": "fatal"}, {"fingerprint": None}, {"location": {"path": "/x"}}])
def test_another_form_would_be_noticed(regressed, wound):
    (entry,) = entries(regressed)
    assert not VALIDATOR.is_valid([entry | wound])


def test_metrics_are_the_openmetrics_text_that_gitlab_reads(cases):
    text = formats.render(["gitlab"], [Results(profile="h200", fingerprint=None, cases=tuple(cases))])["metrics.txt"]
    families = list(openmetrics.text_string_to_metric_families(text))
    assert {"gpuperf_latency_seconds", "gpuperf_mfu_ratio"} <= {family.name for family in families}


def test_nothing_wrong_is_an_empty_list(case):
    assert entries(case()) == []
