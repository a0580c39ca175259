"""The trade-off as a picture: the 99th percentile over the rate, a line for each batching. Plain SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from pytest_gpuperf.serving.tuning import Outcome, Point

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 440, 64, 300, 24, 44
#: Colours that stay apart for colour-blind eyes (Okabe and Ito, 2008).
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
DASHES = ("", "6 4", "2 3")


def draw(title: str, outcomes: Sequence[Outcome], chosen: Outcome | None, *, limit_ms: float) -> str:
    """Return the picture as an SVG document.

    Args:
        title: stands above it, and is what a screen reader says.
        outcomes: one line each.
        chosen: its line is thick.
        limit_ms: the budget, drawn across.
    """
    points = [point for outcome in outcomes for point in outcome.points]
    wide = max((point.rate_qps for point in points), default=1.0) * 1.05
    decades = [math.log10(max(point.p99_ms, 1e-3)) for point in points] + [math.log10(limit_ms)]
    low, high = math.floor(min(decades)), math.ceil(max(decades) + 1e-9)
    high = max(high, low + 1)

    def place(point: Point) -> tuple[float, float]:
        share = (math.log10(max(point.p99_ms, 1e-3)) - low) / (high - low)
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * point.rate_qps / wide,
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share,
        )

    limit = place(Point(rate_qps=0, p99_ms=limit_ms))[1]
    parts = [_axes(wide, low, high)]
    parts.append(_path(f"M{LEFT} {limit:.1f}H{WIDTH - RIGHT}", "#c00", 1, "4 4"))
    parts.append(f'<text x="{LEFT + 6}" y="{limit - 5:.1f}" fill="#c00">p99 budget {limit_ms:g} ms</text>')
    for number, outcome in enumerate(outcomes):
        hue, dash = HUES[number % len(HUES)], DASHES[number // len(HUES) % len(DASHES)]
        parts.append(_line(outcome, [place(point) for point in outcome.points], hue, dash, is_chosen=outcome is chosen))
        parts.append(_legend(number, outcome, hue, dash, is_chosen=outcome is chosen))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" font-family="system-ui,sans-serif" font-size="11">'
        f'<title>{escape(title)}</title><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{LEFT}" y="15" font-weight="bold">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )


def _axes(wide: float, low: int, high: int) -> str:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [_path(f"M{LEFT} {TOP}V{bottom}H{right}", "#888", 1, "")]
    for part in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + (right - LEFT) * part
        parts.append(f'<text x="{x:.0f}" y="{bottom + 16}" text-anchor="middle">{wide * part:.0f}</text>')
    for decade in range(low, high + 1):
        y = bottom - (bottom - TOP) * (decade - low) / (high - low)
        parts.append(_path(f"M{LEFT} {y:.1f}H{right}", "#ddd", 1, ""))
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade:g}</text>')
    parts.append(f'<text x="{(LEFT + right) // 2}" y="{HEIGHT - 8}" text-anchor="middle">requests/s (Poisson)</text>')
    parts.append(
        f'<text transform="translate(14 {(TOP + bottom) // 2}) rotate(-90)" text-anchor="middle">latency p99, ms</text>'
    )
    return "".join(parts)


def _line(outcome: Outcome, places: Sequence[tuple[float, float]], hue: str, dash: str, *, is_chosen: bool) -> str:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) if places else ""
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{hue}"><title>{point.rate_qps:.0f} requests/s, p99 '
        f"{point.p99_ms:.3g} ms</title></circle>"
        for (x, y), point in zip(places, outcome.points, strict=True)
    )
    return (_path(path, hue, 3 if is_chosen else 1.2, dash) if path else "") + dots


def _legend(number: int, outcome: Outcome, hue: str, dash: str, *, is_chosen: bool) -> str:
    x, y = WIDTH - RIGHT + 16, TOP + 12 + 17 * number
    weight = ' font-weight="bold"' if is_chosen else ""
    text = f"{outcome.batching}: {outcome.highest.good:.0f}/s"
    return (
        _path(f"M{x} {y - 4}h22", hue, 3 if is_chosen else 1.2, dash)
        + f'<text x="{x + 28}" y="{y}"{weight}>{escape(text)}</text>'
    )


def _path(line: str, hue: str, width: float, dash: str) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{line}" stroke="{hue}" stroke-width="{width:g}" fill="none"{dashes}/>'
