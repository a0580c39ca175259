"""The telemetry timeline that reports draw, by exact values."""

from __future__ import annotations

from pytest_gpuperf import window

S = 1_000_000_000


def test_gauges_become_means_over_equal_parts():
    rows = [{"t": second * S / 10, "power_mw": 1000.0 * second, "load": 1.0} for second in range(120)]
    timeline = window.timeline(rows, 0, 12 * S)
    assert timeline.seconds == 12
    assert set(timeline.gauges) == {"power_w", "load"}
    assert timeline.gauges["power_w"][:3] == (0.5, 2.5, 4.5)
    assert len(timeline.gauges["power_w"]) == 60


def test_few_samples_make_few_points_and_what_is_missing_is_not_drawn():
    rows = [{"t": 0, "load": 1.0}, {"t": 1 * S}, {"t": 2 * S, "load": 3.0}, {"t": 9 * S, "load": 7.0}]
    assert window.timeline(rows, 0, 3 * S).gauges == {"load": (1.0, None, 3.0)}


def test_a_machine_that_tells_nothing_has_an_empty_timeline():
    assert window.timeline([], 0, S).gauges == {}
