"""Small charts of one case: how its latencies are spread, its telemetry, and its accepted past.

Each is a line of at most some dozen points on a box without ticks; the numbers that count stand beside it in words.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pytest_gpuperf import stats
from pytest_gpuperf.records import CaseResult, Measured, Timeline, Trend
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.failure import name
from pytest_gpuperf.report.html.svg import HUES

WIDTH, HEIGHT = 220, 60
MEDIAN = "latency_p50_ms"
#: Share of the calls that the distribution's axis has room for: the slowest few would squeeze all others.
SHOWN = 0.975
LABELS = {
    "gpu_utilisation_pct": ("GPU utilisation", "pct"),
    "power_w": ("power", "W"),
    "memory_used_mib": ("GPU memory", "mib"),
    "sm_clock_mhz": ("SM clock", "MHz"),
    "load": ("load average", ""),
    "cpu_frequency_mhz": ("CPU frequency", "MHz"),
    "rss_mib": ("memory of the processes", "mib"),
}

Chart = tuple[str, Markup]


def charts(case: CaseResult) -> list[Chart]:
    """Return the charts that there is something to draw for, each with its caption."""
    found: list[Chart] = []
    if case.measured is not None and len(case.measured.distribution) > 1:
        found.append(_distribution(case, case.measured))
    if case.trend is not None and len(case.trend.points) > 1:
        found.append(_trend(case.trend))
    if case.measured is not None and case.measured.timeline is not None:
        found += _timeline(case.measured.timeline)
    return found


def _distribution(case: CaseResult, measured: Measured) -> Chart:
    """Draw the share of calls that were at least as fast; the baseline's median is dashed."""
    values = measured.distribution
    last = stats.percentile(values, SHOWN)
    before = next((found.baseline for found in case.verdict.findings if found.metric == MEDIAN), None)
    low, high = min(values[0], before or last), max(last, before or last)
    ranks = [rank / (len(values) - 1) for rank, value in enumerate(values) if value <= last]
    line = _path([(_scaled(value, low, high), rank) for value, rank in zip(values, ranks, strict=False)])
    marks = "" if before is None else _mark(_scaled(before, low, high))
    middle = cells.number(stats.percentile(values, 0.5), "ms")
    words = (
        f"fastest {cells.number(values[0], 'ms')}, half within {middle}, "
        f"95 % within {cells.number(stats.percentile(values, 0.95), 'ms')}, slowest {cells.number(values[-1], 'ms')}"
    )
    if before is not None:
        words += f"; dashed: median of the baseline, {cells.number(before, 'ms')}"
    return f"calls by latency: {words}", _chart(f"share of calls over latency: {words}", line, marks)


def _trend(trend: Trend) -> Chart:
    """Draw accepted runs and this one at equal distances; dashed lines are where another level begins."""
    values = [value for _, value in trend.points]
    low, high = min(values), max(values)
    places = [(rank / (len(values) - 1), _scaled(value, low, high)) for rank, value in enumerate(values)]
    marks = "".join(_mark((index - 0.5) / (len(values) - 1)) for index in trend.change_points)
    (first, _), (last, now) = trend.points[0], trend.points[-1]
    words = f"{name(trend.metric)} {first[:10]} to {last[:10]}, {cells.number(low)} … {cells.number(high)}"
    words += f", now {cells.number(now)}"
    if trend.change_points:
        words += f"; another level since {', '.join(trend.points[index][0][:10] for index in trend.change_points)}"
    return words, _chart(words, _path(places), marks)


def _timeline(timeline: Timeline) -> list[Chart]:
    found = []
    for gauge, points in timeline.gauges.items():
        label, unit = LABELS.get(gauge, (gauge, ""))
        known = [point for point in points if point is not None]
        if len(known) > 1:
            low, high = min(known), max(known)
            end = len(points) - 1
            places = [
                None if point is None else (rank / end, _scaled(point, low, high)) for rank, point in enumerate(points)
            ]
            words = f"{label} {cells.number(low)} … {cells.number(high, unit)} over {cells.number(timeline.seconds)} s"
            found.append((words, _chart(words, _path(places))))
    return found


def _chart(title: str, line: str, marks: str = "") -> Markup:
    dashed = Markup('<path d="{}" stroke-dasharray="3"/>').format(marks) if marks else Markup()
    return Markup(
        '<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" stroke="currentColor" fill="none">'
        '<title>{}</title><path d="M0 0V{}H{}" opacity=".4"/>{}'
        '<path d="{}" stroke="{}" stroke-width="2" stroke-linecap="round"/></svg>'
    ).format(WIDTH, HEIGHT, WIDTH, HEIGHT, title, HEIGHT, WIDTH, dashed, line, HUES[0])


def _path(places: Sequence[tuple[float, float] | None]) -> str:
    """Return a line through points of the unit square, broken where one is missing."""
    parts, pen = [], "M"
    for place in places:
        if place is None:
            pen = "M"
        else:
            dot = "h0" if pen == "M" else ""  # a point between two gaps is seen as a dot
            parts.append(f"{pen}{WIDTH * place[0]:.0f} {HEIGHT - 3 - (HEIGHT - 6) * place[1]:.0f}{dot}")
            pen = "L"
    return "".join(parts)


def _mark(across: float) -> str:
    return f"M{WIDTH * across:.0f} 0V{HEIGHT}"


def _scaled(value: float, low: float, high: float) -> float:
    """Return the place of a value between two bounds; in the middle where they are one."""
    return (value - low) / (high - low) if high > low else 0.5
