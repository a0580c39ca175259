from __future__ import annotations

import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest
import xmlschema
from fakes import xunit2
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf.records import Physics, Status, Verdict
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


def test_shares_of_what_is_possible_are_told_too(case):
    rated = case(physics=Physics(mfu_pct=37.25, best_pct=41.0))
    assert dict(junit.properties(rated))["gpuperf_mfu_pct"] == "37.25"
    assert junit.system_out(rated).splitlines()[-2:] == ["mfu_pct: 37.2 %", "best_pct: 41.0 %"]


def test_the_xunit2_schema_accepts_it(cases):
    text = junit.document([Results(profile="h200", fingerprint=None, cases=tuple(cases), seconds=3661.5)])
    for schema in xunit2.schemas():
        schema.validate(text)


@pytest.mark.parametrize(
    ("wound", "what"),
    [
        (("<system-out>", "<properties/><system-out>"), "Unexpected child"),
        (('skipped="0" time="1.000"', 'skipped="0" time="1.0000"'), "pattern"),
        (('errors="0" ', ""), "missing required attribute"),
        (("<testcase ", '<testcase file="a" '), "'file' attribute not allowed"),
    ],
)
def test_the_schema_would_tell(case, wound, what):
    text = junit.document([Results(profile="h200", fingerprint=None, cases=(case(),), seconds=1.0)])
    assert wound[0] in text
    for schema in xunit2.schemas():
        with pytest.raises(xmlschema.XMLSchemaValidationError, match=what):
            schema.validate(text.replace(*wound, 1))


@pytest.mark.parametrize(
    ("path", "family", "expected"), [(None, "xunit2", True), ("a", "xunit2", False), ("a", "xunit1", True)]
)
def test_a_case_has_properties_where_no_schema_forbids_them(path, family, expected):
    config = SimpleNamespace(option=SimpleNamespace(xmlpath=path), getini={"junit_family": family}.get)
    assert junit.has_properties(config) is expected


def test_nothing_breaks_without_pytest_s_own_writer():
    assert junit.has_properties(SimpleNamespace(option=SimpleNamespace()))


@given(st.text())
def test_any_text_gives_well_formed_xml(text):
    hostile = make_case(text, Status.REGRESSED, text)
    root = ET.fromstring(junit.document([Results(profile=text, fingerprint=None, cases=(hostile,))]).encode("utf-8"))
    assert len(root.findall("testsuite/testcase/failure")) == 1
    xunit2.schemas()[0].validate(ET.tostring(root, encoding="unicode"))
