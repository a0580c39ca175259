from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf.records import Status
from pytest_gpuperf.report import markdown
from pytest_gpuperf.report.results import Results
from tests.unit.report.conftest import make_case


def session(cases, profile="h200", **changes):
    return Results(profile=profile, fingerprint=None, cases=tuple(cases), **changes)


@pytest.fixture(scope="module")
def many():
    return session(
        make_case(f"test_{number}[8]", Status.REGRESSED if number % 2 else Status.PASSED) for number in range(5000)
    )


def test_golden(cases, golden):
    golden("summary.md", markdown.document([session(cases)]))


def test_interrupted_runs_say_so(cases):
    assert "interrupted" in markdown.document([session(cases, is_complete=False)])
    assert "interrupted" not in markdown.document([session(cases)])


def test_summary_of_5000_cases_fits(many):
    text = markdown.document([many])
    assert 800_000 < len(text.encode()) <= markdown.SUMMARY_BYTES


@pytest.mark.parametrize("limit", [markdown.COMMENT_BYTES, 5_000])
def test_cut_pages_count_what_is_missing_and_keep_the_worst(many, limit):
    text = markdown.document([many], limit_bytes=limit)
    assert len(text.encode()) <= limit
    rows = [line for line in text.splitlines() if "test&#95;" in line]
    assert all("regressed" in row for row in rows)
    more = re.search(r"… and (\d+) more in results.json", text)
    assert int(more[1]) + len(rows) == 5000


def test_several_sessions_share_the_limit(many):
    text = markdown.document([many, many], limit_bytes=markdown.COMMENT_BYTES)
    assert text.count("## gpuperf") == 2
    assert len(text.encode()) <= markdown.COMMENT_BYTES


@given(st.text())
def test_hostile_names_stay_in_their_cell(text):
    hostile = make_case(text, Status.REGRESSED, text, model=text)
    lines = markdown.document([session([hostile], profile=text)]).splitlines()
    assert len(lines) == 5
    row = lines[4]
    assert len(re.findall(r"\|", row)) == len(markdown.COLUMNS) + 1
    assert set(re.findall(r"<[^>]*>", row)) <= {"<code>", "</code>", "<br>"}


@pytest.mark.parametrize(
    "raw", ["@team", "[x](javascript:1)", "`a`|b", "<img onerror=x>", "a\nb", "&#64;team", "**b**", "http://x.y"]
)
def test_markup_is_shown_and_not_obeyed(raw):
    assert not re.search(r"@\w|[\[\]`|<>*\n]|://", markdown.text(raw))
