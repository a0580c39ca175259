"""Figures that no report knows by name: each still says what they are."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_gpuperf.records import Metric
from pytest_gpuperf.report import formats, merge
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import table

FIGURES = {
    "ttft_p99_ms": Metric(value=12.34, unit="ms", lower=11.0, upper=14.0, n=500),
    "goodput_rps": Metric(value=812.5, unit="req/s", higher="better"),
    "scaling_pct": Metric(value=93.0, unit="pct", higher="better"),
}


@pytest.fixture
def served(case, measured):
    return case("test_served[8]", measured=measured(metrics=FIGURES, comparison=None, distribution=()))


def test_the_terminal_tells_them_where_there_is_room(served, case):
    wide = table([served, case()], width=220, colour=False)
    assert "  figures  " in wide[0]
    assert "ttft p99 12.3 ms, goodput rps 812 req/s, scaling pct 93.0 %" in wide[2]
    assert "figures" not in table([case()], width=220, colour=False)[0]
    assert all(len(line) <= 80 for line in table([served], width=80, colour=False))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("html", "ttft p99 12.3 ms, goodput rps 812 req/s"),
        ("markdown", "ttft p99 12.3 ms, goodput rps 812 req/s"),
        ("csv", ",ttft_p99_ms,12.34,ms,11.0,14.0,500"),
        ("prometheus", "gpuperf_ttft_p99_seconds{"),
        ("prometheus", "gpuperf_goodput_rps{"),
        ("prometheus", "gpuperf_scaling_ratio{"),
        ("junit", "ttft_p99_ms: 12.3 ms (11.0 … 14.0)"),
    ],
)
def test_every_format_tells_them(served, name, told):
    results = [Results(profile="h200", fingerprint=None, cases=(served,))]
    assert told in "".join(formats.render([name], results).values())


def test_two_runs_are_compared_by_them_in_their_own_direction(served):
    better = {"goodput_rps": dataclasses.replace(FIGURES["goodput_rps"], value=1625.0)}
    after = dataclasses.replace(served, measured=dataclasses.replace(served.measured, metrics=FIGURES | better))
    before, now = (Results(profile="h200", fingerprint=None, cases=(each,)) for each in (served, after))
    rows = merge.compare(before, now).rows
    assert rows[-1][1:5] == ("goodput rps", "812 req/s", "1 625 req/s", "+100.0 %")
