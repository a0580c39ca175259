from __future__ import annotations

import pytest

from pytest_gpuperf.report import markdown
from pytest_gpuperf.report.github import publish
from pytest_gpuperf.report.results import Results


@pytest.fixture
def session(cases):
    return [Results(profile="h200", fingerprint=None, cases=tuple(cases))]


def test_nothing_happens_elsewhere(session, tmp_path):
    path = tmp_path / "summary.md"
    publish(session, environ={"GITHUB_STEP_SUMMARY": str(path)}, write_line=pytest.fail)
    assert not path.exists()


def test_annotations_and_summary(session, tmp_path):
    path, lines = tmp_path / "summary.md", []
    path.write_text("what another tool wrote\n")
    publish(session, environ={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}, write_line=lines.append)
    assert len(lines) == 4
    assert all(line.startswith("::error file=suites/vision/test_resnet50.py,") for line in lines)
    assert path.read_text() == "what another tool wrote\n" + markdown.document(session)


@pytest.mark.parametrize("held", [899_000, 897_000])
def test_a_full_summary_is_not_overfilled(session, tmp_path, held):
    path = tmp_path / "summary.md"
    path.write_text("x" * held)
    publish(session, environ={"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(path)}, write_line=str)
    assert path.stat().st_size <= markdown.SUMMARY_BYTES
    assert (path.stat().st_size > held) == (held == 897_000)
