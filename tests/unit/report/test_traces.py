from __future__ import annotations

import dataclasses
import re

from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf.records import Timeline, Trend
from pytest_gpuperf.report.html import traces
from tests.unit.report.conftest import make_case, make_measured

SPREAD = "fastest 0.492 ms, half within 0.547 ms, 95 % within 0.733 ms, slowest 0.875 ms"
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


def captions(case):
    return [caption for caption, _ in traces.charts(case)]


def test_words_tell_what_the_charts_show(regressed):
    trend = Trend(metric="latency_p50_ms", points=(("2026-11-01", 0.4), ("2026-11-08", 0.5)), change_points=(1,))
    assert captions(dataclasses.replace(regressed, trend=trend)) == [
        f"calls by latency: {SPREAD}; dashed: median of the baseline, 0.481 ms",
        "latency p50 2026-11-01 to 2026-11-08, 0.400 … 0.500, now 0.500; another level since 2026-11-08",
        "GPU utilisation 80.0 … 95.0 % over 12.0 s",
        "power 250 … 312 W over 12.0 s",
    ]


def test_a_gap_breaks_the_line():
    measured = make_measured(
        distribution=(), timeline=Timeline(seconds=1.0, gauges={"load": (0.0, 1.0, None, 1.0, 0.0)})
    )
    ((_, chart),) = traces.charts(make_case(measured=measured))
    assert 'd="M0 57h0L55 3M165 3h0L220 57"' in chart


def test_nothing_to_draw(case):
    assert traces.charts(case(measured=None)) == []
    bare = make_measured(distribution=(1.0,), timeline=Timeline(seconds=1.0, gauges={"load": (None, 1.0)}))
    assert traces.charts(case(measured=bare, trend=Trend(metric="x", points=(("2026-11-01", 1.0),)))) == []


@given(st.lists(NUMBERS, min_size=2, max_size=70), st.lists(st.none() | NUMBERS, max_size=60))
def test_lines_stay_on_the_chart(values, gauge):
    measured = make_measured(
        distribution=tuple(sorted(values)), timeline=Timeline(seconds=1.0, gauges={"load": tuple(gauge)})
    )
    trend = Trend(metric="x", points=tuple(("2026-11-01", value) for value in values))
    for _, chart in traces.charts(make_case(measured=measured, trend=trend)):
        for path in re.findall(r' d="([^"]+)" stroke="#', chart):
            for across, up in re.findall(r"(-?\d+) (-?\d+)", path):
                assert 0 <= int(across) <= traces.WIDTH
                assert 0 <= int(up) <= traces.HEIGHT
