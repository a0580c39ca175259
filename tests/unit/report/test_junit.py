from __future__ import annotations

import os
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf.records import Status, Verdict
from pytest_gpuperf.report import junit
from pytest_gpuperf.report.results import Results
from tests.unit.report.conftest import make_case


def test_properties(regressed):
    assert dict(junit.properties(regressed)) == {
        "gpuperf_verdict": "regressed",
        "gpuperf_latency_p50_ms": "0.547",
        "gpuperf_latency_p99_ms": repr(1.3 * 0.547),
        "gpuperf_throughput_sps": repr(8000 / 0.547),
        "gpuperf_top1_agreement": "0.984375",
        "gpuperf_rmse": "0.0031",
        "gpuperf_rel_rmse": "0.0029",
        "gpuperf_cosine": "0.99999",
        "gpuperf_sqnr_db": "50.7",
        "gpuperf_reference_classes": "118",
        "gpuperf_speed_ratio": "8.0",
    }


def test_a_case_that_never_ran_has_only_its_verdict(case):
    assert junit.properties(case(measured=None, verdict=Verdict(status=Status.INFRA, reason="died"))) == [
        ("gpuperf_verdict", "infra")
    ]


def test_golden(cases, golden):
    golden("junit.xml", junit.document([Results(profile="h200", fingerprint=None, cases=tuple(cases), seconds=61.5)]))


def test_counts_agree_with_the_cases(cases):
    suite = ET.fromstring(junit.document([Results(profile="h200", fingerprint=None, cases=tuple(cases))]))[0]
    assert suite.attrib["tests"] == str(len(suite.findall("testcase"))) == "7"
    assert suite.attrib["failures"] == str(len(suite.findall("testcase/failure"))) == "3"
    assert suite.attrib["errors"] == str(len(suite.findall("testcase/error"))) == "1"


def test_numbers_are_also_in_system_out(regressed):
    assert junit.system_out(regressed).splitlines() == [
        "verdict: regressed (latency p50 rose by 13.7 %)",
        "latency_p50_ms: 0.547 ms (0.536 … 0.558)",
        "latency_p99_ms: 0.711 ms (0.656 … 0.821)",
        "throughput_sps: 14 625 samples/s",
        "vs tensorflow fp32: 8.00 x (7.84 … 8.16)",
        "accuracy: agrees 98.44 %",
    ]


# What the xunit2 schema (junit-10.xsd of Jenkins' xUnit plugin, which pytest's documentation names) allows.
ALLOWED = {
    "testsuites": ({"testsuite"}, {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"properties", "testcase", "system-out", "system-err"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package", "file"},
    ),
    "properties": ({"property"}, set()),
    "property": (set(), {"name", "value"}),
    "testcase": ({"skipped", "error", "failure", "system-out", "system-err"}, {"name", "time", "classname", "group"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "system-out": (set(), set()),
}


def test_only_what_the_xunit2_schema_allows(cases):
    root = ET.fromstring(junit.document([Results(profile="h200", fingerprint=None, cases=tuple(cases))]))
    for element in root.iter():
        children, attributes = ALLOWED[element.tag]
        assert {child.tag for child in element} <= children
        assert set(element.attrib) <= attributes


@given(st.text())
def test_any_text_gives_well_formed_xml(text):
    hostile = make_case(text, Status.REGRESSED, text)
    root = ET.fromstring(junit.document([Results(profile=text, fingerprint=None, cases=(hostile,))]).encode("utf-8"))
    assert len(root.findall("testsuite/testcase/failure")) == 1


@pytest.mark.skipif("GPUPERF_JUNIT_XSD" not in os.environ, reason="GPUPERF_JUNIT_XSD names no copy of junit-10.xsd")
def test_the_schema_itself_accepts_it(cases):
    xmlschema = pytest.importorskip("xmlschema", reason="xmlschema is not installed")
    text = junit.document([Results(profile="h200", fingerprint=None, cases=tuple(cases), seconds=61.5)])
    xmlschema.XMLSchema(os.environ["GPUPERF_JUNIT_XSD"]).validate(text)
