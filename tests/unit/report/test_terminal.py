from __future__ import annotations

import dataclasses
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import __version__
from pytest_gpuperf.records import Physics, Status, Trend
from pytest_gpuperf.report.terminal import cut, header, printable, references, remarks, summary, table

ANSI = re.compile(r"\x1b\[\d+m")
ALL_COLUMNS = ["verdict", "case", "p50 ms", "p99 ms", "samples/s", "vs ref", "MFU", "of best", "accuracy", "against"]


def titles(lines: list[str]) -> list[str]:
    return re.split(r"\s{2,}", lines[0].strip())


def test_golden(cases, golden):
    golden("terminal.txt", "\n".join(table(cases, width=140, colour=False)) + "\n")


def test_worst_case_comes_first(cases):
    statuses = [line.split()[0] for line in table(cases, width=140, colour=False)[1:-3]]
    assert statuses == ["inaccurate", "regressed", "infra", "new", "passed", "passed", "passed"]


def test_among_equals_the_larger_change_comes_first(regressed):
    finding = dataclasses.replace(regressed.verdict.findings[0], change_pct=200.0)
    worse = dataclasses.replace(
        regressed, id="suites/z.py::test_z", verdict=dataclasses.replace(regressed.verdict, findings=(finding,))
    )
    lines = table([regressed, worse], width=140, colour=False)
    assert "test_z" in lines[1]


def test_numbers_of_a_row(regressed):
    row = re.split(r"\s{2,}", table([regressed], width=160, colour=False)[1])
    assert row == [
        "regressed",
        "suites/vision/test_resnet50.py::test_resnet50_fp16[8]",
        "0.547",
        "0.711",
        "14 625",
        "8.00 x",
        "agrees 98.44 %",
        "none",
    ]


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (160, ALL_COLUMNS),
        (108, ["verdict", "case", "p50 ms", "p99 ms", "samples/s", "vs ref", "MFU", "accuracy", "against"]),
        (90, ["verdict", "case", "p50 ms", "p99 ms", "samples/s", "vs ref", "accuracy"]),
        (80, ["verdict", "case", "p50 ms", "p99 ms", "samples/s", "vs ref"]),
        (68, ["verdict", "case", "p50 ms", "samples/s", "vs ref"]),
        (60, ["verdict", "case", "p50 ms", "vs ref"]),
        (49, ["verdict", "case", "vs ref"]),
        (41, ["verdict", "case"]),
        (10, ["verdict", "…"]),
    ],
)
def test_narrow_terminals_drop_columns_in_order(cases, width, kept):
    assert titles(table(cases, width=width, colour=False)) == kept


def test_cut_ids_keep_their_parameters(cases):
    lines = table(cases, width=30, colour=False)
    assert all(len(line) <= 30 for line in lines)
    assert any("…" in line and line.endswith("fp16[64]") for line in lines)


def test_no_line_is_wider_than_the_terminal(cases):
    for width in range(20, 200):
        assert all(len(line) <= width for line in table(cases, width=width, colour=False))


def test_colour_only_adds_colour(cases):
    plain = table(cases, width=140, colour=False)
    coloured = table(cases, width=140, colour=True)
    assert [ANSI.sub("", line) for line in coloured] == plain
    assert coloured[1].startswith("\x1b[31minaccurate")
    assert coloured[4].startswith("\x1b[33mnew")
    assert coloured[5].startswith("\x1b[32mpassed")
    assert "\x1b" not in "".join(plain)


def test_quiet_shows_only_what_is_wrong(cases, case):
    assert not any("passed" in line for line in table(cases, width=140, colour=False, verbosity=-1))
    assert table([case()], width=140, colour=False, verbosity=-1) == []


def test_many_green_cases_are_summed_up(case):
    many = [case(f"test_{number}[1]") for number in range(43)]
    lines = table(many, width=140, colour=False)
    assert len(lines) == 1 + 40 + 2
    assert lines[-1] == "… and 3 more green cases (-v shows all)"
    assert len(table(many, width=140, colour=False, verbosity=1)) == 1 + 43 + 1


def test_no_failing_case_is_ever_hidden(case):
    many = [case(f"test_{number}[1]", Status.REGRESSED) for number in range(100)]
    assert len(table(many, width=140, colour=False)) == 1 + 100 + 1


def test_verbose_adds_bounds_and_time(regressed):
    lines = table([regressed], width=200, colour=False, verbosity=1)
    assert "0.536 … 0.558" in lines[1]
    assert lines[1].endswith("11 s")


def test_nothing_to_say():
    assert table([], width=80, colour=False) == []


def test_header():
    assert header(
        profile="a40", why="from --gpu-profile", machine="2 x NVIDIA A40", software={"tensorrt": "8.6.0"}
    ) == [f"gpuperf {__version__}: profile a40 (from --gpu-profile); 2 x NVIDIA A40; tensorrt 8.6.0"]
    assert header(profile="cpu", certificate="false fails at most 1.2 %")[1] == (
        "gpuperf certificate: false fails at most 1.2 %"
    )


def test_summary(cases):
    assert summary(cases, seconds=250.0, results=".gpuperf/results.json") == (
        "gpuperf: 1 inaccurate, 1 regressed, 1 infra, 1 new, 3 passed in 4 min 10 s; results: .gpuperf/results.json"
    )
    assert summary([]) == "gpuperf: no case was measured"


@given(st.text())
def test_hostile_ids_cannot_steer_the_terminal(text):
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", printable(text))


@given(st.text(alphabet="aé漢\u0301[1]", max_size=60), st.integers(0, 70))
def test_cut_fits(text, size):
    shown = cut(text, size)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in shown)
    joined = sum(bool(unicodedata.combining(char)) for char in shown)
    assert len(shown) + wide - joined <= size


# --- beside the verdict ---


def test_utilisation_is_shown_where_the_server_s_peaks_are_known(case):
    physics = Physics(mfu_pct=37.25, best_pct=41.0)
    known = table([case(physics=physics), case("test_b[8]")], width=200, colour=False)
    unknown = table([case()], width=200, colour=False)
    assert " MFU  of best  " in known[0]
    assert "  37.2 %   41.0 %  " in known[2]
    assert known[-1].startswith("MFU: share of the GPU's peak")
    assert "MFU" not in unknown[0]


def test_every_case_is_said_to_be_judged_against_something_and_why_not_better(case):
    cases = [
        case("a[1]", judged_against="portable", why_not_better="the baseline is another machine's"),
        case("a[2]", judged_against="portable", why_not_better="the baseline is another machine's"),
        case("a[3]", judged_against="live pair"),
        case("a[4]", why_not_better="there is no baseline"),
    ]
    assert references(cases) == [
        "2 judged against portable: the baseline is another machine's",
        "1 judged against live pair",
        "1 judged against none: there is no baseline",
    ]
    assert "against" in table(cases, width=200, colour=False)[0]


def test_flags_and_drift_are_told_whatever_the_verdict(case):
    flagged = case(
        physics=Physics(flags=("26.8 is not samples/s",)),
        trend=Trend(metric="latency_p50_ms", points=(), drift="latency_p50_ms is 5.1 % worse"),
    )
    assert remarks([flagged, case()]) == [
        f"{flagged.id}: cannot be right: 26.8 is not samples/s",
        f"{flagged.id}: slow drift: latency_p50_ms is 5.1 % worse",
    ]


def test_what_ids_share_is_told_once_where_they_do_not_fit(case):
    cases = [case("test_resnet50_fp16[1]"), case("test_resnet50_fp16[8]")]
    lines = table(cases, width=80, colour=False)
    assert titles(lines) == ["verdict", "case", "p50 ms", "p99 ms", "samples/s", "vs ref"]
    assert lines[1].split()[:2] == ["passed", "test_resnet50_fp16[1]"]
    assert lines[3] == "cases are in suites/vision/test_resnet50.py"
    wide = table(cases, width=200, colour=False)
    assert "suites/vision/test_resnet50.py::test_resnet50_fp16[1]" in wide[1]
    assert not any("cases are in" in line for line in wide)


def test_ids_of_several_files_share_their_folder(case):
    cases = [case(), case(id="suites/vision/sub/test_b.py::test_b[1]"), case(id="suites/vision/test_c.py::test_b[a/b]")]
    assert table(cases, width=80, colour=False)[4] == "cases are in suites/vision/"


def test_ids_that_share_nothing_stay_whole(case):
    cases = [case(id=f"{letter}/test_{letter}.py::test_{'long' * 9}[1]") for letter in "ab"]
    assert not any("cases are in" in line for line in table(cases, width=60, colour=False))
