from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf.records import Finding, Status, Verdict
from pytest_gpuperf.report import annotations
from tests.unit.report.conftest import make_case


def test_a_line_names_place_and_finding(regressed):
    assert annotations.lines([regressed])[0].startswith(
        "::error file=suites/vision/test_resnet50.py,title=regressed%3A test_resnet50_fp16[8],line=17::"
        "latency p50 rose by 13.7 %25%0Alatency p50   0.547 ms   was 0.481 ms   +13.7 %25"
    )


def test_nothing_is_told_twice(case):
    finding = Finding(metric="baseline", status=Status.NEW, measured=None, note="there is no baseline")
    verdict = Verdict(status=Status.NEW, reason="baseline: there is no baseline", findings=(finding,))
    (line,) = annotations.lines([case(verdict=verdict)])
    assert line.endswith("::baseline: there is no baseline")


def test_only_the_worst_ten_and_no_green_one(case):
    many = [case(f"test_{number}", Status.NEW) for number in range(20)] + [case("test_bad", Status.REGRESSED), case()]
    lines = annotations.lines(many)
    assert len(lines) == 10
    assert "test_bad" in lines[0]
    assert annotations.document([case()]) == ""


def test_an_unknown_line_is_left_out(case):
    (line,) = annotations.lines([case("test_a", Status.NEW, path="", line=0)])
    assert line.startswith("::error file=suites/vision/test_resnet50.py,title=new%3A test_a::")


@given(st.text(alphabet=st.sampled_from("%:,\r\n0Aset-output\u2028a"), max_size=30), st.text(max_size=20))
def test_no_name_can_start_another_command(hostile, other):
    text = annotations.document([make_case(hostile, Status.REGRESSED, other, path=hostile + other, line=3)])
    assert text.count("\n") == 1
    assert "\r" not in text
    properties, _, message = text.removeprefix("::error ").partition("::")
    assert properties.count(",") == 2
    assert not re.search(r":", properties)
    assert not re.search(r"%(?!25|0D|0A)", message)
