from __future__ import annotations

import dataclasses
import json

from pytest_gpuperf.records import Status
from pytest_gpuperf.report import gitlab
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


def test_nothing_wrong_is_an_empty_list(case):
    assert entries(case()) == []
