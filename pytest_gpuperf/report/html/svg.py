"""Charts as static SVG. Colours are presentation attributes, so that they hold where style sheets are blocked.

Lines and words take ``currentColor``, the page's own ink; the few hues read on light and on dark ground. Every chart
has a title for those who do not see it, and nothing is told by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from pytest_gpuperf.records import Finding
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.curve import Curve
from pytest_gpuperf.report.order import GREEN

Scale = Callable[[float], str]

HUES = ("#3b82d0", "#d9730d", "#2f9e6e", "#b055c9", "#c2454f")
BAD, GOOD = "#d64545", "#2f9e6e"
WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 76, 12, 40
SMALL = 100
# A ceiling that is farther above the points than this would flatten the curve: it is told in words instead.
CEILING_ROOM = 3.0


def interval(finding: Finding | None) -> Markup:
    """Draw a change in percent with its interval on a line: zero as a tick, the limit dashed."""
    if finding is None or finding.change_pct is None or not math.isfinite(finding.change_pct):
        return Markup()
    change = finding.change_pct
    lower = change if finding.lower_pct is None else finding.lower_pct
    upper = change if finding.upper_pct is None else finding.upper_pct
    # A limit is a drift in percent except for budgets, which are absolute and have no place on this axis.
    limit = finding.limit if finding.reference != "budget" else None
    marks = [value for value in (0.0, change, lower, upper, limit) if value is not None and math.isfinite(value)]
    low, high = min(marks), max(marks)
    pad = 0.1 * (high - low) or 1.0

    def x(value: float) -> str:
        place = (min(max(value, low), high) - low + pad) / (high - low + 2 * pad)
        return f"{SMALL * place:.0f}"

    hue = GOOD if finding.status in GREEN else BAD
    dashed = Markup('<path d="M{0} 2v16" stroke-dasharray="3"/>').format(x(limit)) if limit is not None else Markup()
    return Markup(
        '<svg width="{width}" height="20" viewBox="0 0 {width} 20" role="img" stroke="currentColor" fill="none">'
        '<title>{title}</title><path d="M{zero} 2v16M0 10h{width}" opacity=".5"/>{limit}'
        '<path d="M{lower} 10H{upper}" stroke="{hue}" stroke-width="5"/>'
        '<circle cx="{change}" cy="10" r="4" fill="{hue}" stroke="none"/></svg>'
    ).format(
        width=SMALL,
        title=cells.change(finding),
        zero=x(0.0),
        limit=dashed,
        lower=x(lower),
        upper=x(upper),
        hue=hue,
        change=x(change),
    )


def curves(title: str, lines: Sequence[Curve]) -> Markup:
    """Draw throughput over latency, both from zero; points are batches, the knee is ringed, the ceiling dashed."""
    points = [point for line in lines for point in line.points]
    ceilings = [line.ceiling_sps for line in lines if line.ceiling_sps]
    wide = _round_up(max(point.latency_ms for point in points))
    best = max(point.throughput_sps for point in points)
    high = _round_up(max([best, *(ceiling for ceiling in ceilings if ceiling <= CEILING_ROOM * best)]))

    def x(latency_ms: float) -> str:
        return f"{LEFT + (WIDTH - LEFT - RIGHT) * latency_ms / wide:.0f}"

    def y(throughput_sps: float) -> str:
        return f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * throughput_sps / high:.0f}"

    parts = [_axes(wide, high, x, y)]
    for number, line in enumerate(lines):
        parts.append(_line(line, HUES[number % len(HUES)], x, y))
    words = "; ".join(f"{line.label}: {_in_words(line)}" for line in lines)
    return Markup(
        '<svg viewBox="0 0 {} {}" width="{}" height="{}" role="img" font-family="system-ui,sans-serif" font-size="11" '
        'fill="currentColor"><title>{}: {}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, WIDTH, HEIGHT, title, words, Markup().join(parts))


def _axes(wide: float, high: float, x: Scale, y: Scale) -> Markup:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    ticks = Markup().join(
        Markup(
            '<text x="{}" y="{}" text-anchor="end">{}</text><text x="{}" y="{}" text-anchor="middle">{}</text>'
        ).format(LEFT - 6, int(y(high * part)) + 4, _tick(high * part), x(wide * part), bottom + 16, _tick(wide * part))
        for part in (0.0, 0.5, 1.0)
    )
    grid = Markup('<path d="M{l} {t}V{b}H{r}M{l} {t}H{r}M{l} {m}H{r}" stroke="currentColor" fill="none" opacity=".3"/>')
    names = Markup(
        '<text x="{}" y="{}" text-anchor="middle">latency p50, ms</text>'
        '<text transform="translate(12 {}) rotate(-90)" text-anchor="middle">samples/s</text>'
    ).format((LEFT + right) // 2, HEIGHT - 6, (TOP + bottom) // 2)
    return grid.format(l=LEFT, t=TOP, b=bottom, r=right, m=y(high / 2)) + ticks + names


def _line(line: Curve, hue: str, x: Scale, y: Scale) -> Markup:
    places = [(x(point.latency_ms), y(point.throughput_sps), point.batch) for point in line.points]
    path = "M" + "L".join(f"{across} {up}" for across, up, _ in places)
    parts = [Markup('<path d="{}" stroke="{}" stroke-width="2" fill="none"/>').format(path, hue)]
    if line.ceiling_sps and float(y(line.ceiling_sps)) >= TOP:
        parts.append(
            Markup('<path d="M{} {}H{}" stroke="{}" stroke-dasharray="6 4"/>').format(
                LEFT, y(line.ceiling_sps), WIDTH - RIGHT, hue
            )
        )
    for across, up, batch in places:
        parts.append(Markup('<circle cx="{}" cy="{}" r="3" fill="{}"/>').format(across, up, hue))
        parts.append(Markup('<text x="{}" y="{}">{}</text>').format(int(across) + 5, int(up) + 13, batch))
        if batch == line.knee:
            parts.append(
                Markup('<circle cx="{}" cy="{}" r="7" stroke="{}" stroke-width="2" fill="none"/>').format(
                    across, up, hue
                )
            )
    across, up, _ = places[-1]
    parts.append(
        Markup('<text x="{}" y="{}" fill="{}">{}</text>').format(int(across) + 8, int(up) - 2, hue, line.label)
    )
    return Markup().join(parts)


def _in_words(line: Curve) -> str:
    told = ", ".join(
        f"batch {point.batch} {cells.number(point.latency_ms, 'ms')} {cells.number(point.throughput_sps, 'sps')}"
        for point in line.points
    )
    told += f", knee at batch {line.knee}" if line.knee else ""
    return told + (f", ceiling {cells.number(line.ceiling_sps, 'sps')}" if line.ceiling_sps else "")


def _tick(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 10 else f"{value:.3g}"  # noqa: PLR2004 - two digits


def _round_up(value: float) -> float:
    """Return the next 1, 2, 4, 5 or 10 times a power of ten: an axis that ends on a number people can halve."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 6, 8, 10) if step * power >= value * 0.999)
