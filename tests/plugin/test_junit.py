"""pytest's own XML file: valid by its schema, and it has the numbers where people see them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from fakes import xunit2
from fakes.repository import Repository


def test_the_file_is_valid_and_shows_the_numbers(repository: Repository) -> None:
    (repository.path / "test_plain.py").write_text("def test_plain():\n    assert False\n")
    repository.run("--junitxml=junit.xml")
    path = repository.path / "junit.xml"
    for schema in xunit2.schemas():
        schema.validate(str(path))
    root = ET.parse(path).getroot()
    out = {case.get("name"): case.findtext("system-out", "") for case in root.iter("testcase")}
    assert sorted(out) == ["test_engine[fast]", "test_engine[slow]", "test_plain"]
    assert "verdict: new" in out["test_engine[fast]"]
    assert "latency_p50_ms: 1.00 ms" in out["test_engine[fast]"]
    assert "latency_p50_ms: 3.00 ms" in out["test_engine[slow]"]
    assert out["test_plain"] == ""
    held = {item.get("name"): item.get("value") for item in root.iterfind("testsuite/properties/property")}
    assert held["gpuperf_profile"] == "cpu"
    assert held["gpuperf_machine"]


def test_the_older_family_has_properties_of_each_case_also_from_a_worker(repository: Repository) -> None:
    repository.run("--junitxml=junit.xml", "-o", "junit_family=xunit1", "-n1", "-k", "fast")
    (case,) = ET.parse(repository.path / "junit.xml").getroot().iter("testcase")
    found = {item.get("name"): item.get("value") for item in case.iterfind("properties/property")}
    assert found["gpuperf_verdict"] == "new"
    assert float(found["gpuperf_latency_p50_ms"]) == 1.0
    assert "latency_p50_ms: 1.00 ms" in case.findtext("system-out", "")
