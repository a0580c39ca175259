"""Latency against throughput over the batch sizes, one curve for each model, engine, precision and server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuperf.report import cells
from pytest_gpuperf.report.results import Results

LATENCY = cells.LATENCY.format("p50")
FEWEST_POINTS = 3


@dataclass(frozen=True)
class Point:
    """One batch size: median latency in ms, throughput in samples/s."""

    batch: int
    latency_ms: float
    throughput_sps: float


@dataclass(frozen=True)
class Curve:
    """Points by rising batch size.

    Attributes:
        label: the server profile.
        knee: the batch from which latency grows faster than throughput, ``None`` where the curve does not bend.
        ceiling_sps: what the hardware could do at best (roofline), ``None`` if that is not known.
    """

    label: str
    points: tuple[Point, ...]
    knee: int | None
    ceiling_sps: float | None


def curves(results: Sequence[Results]) -> dict[str, list[Curve]]:
    """Return curves of at least two points by ``model engine precision``, servers side by side."""
    groups: dict[str, dict[str, dict[int, Point]]] = defaultdict(lambda: defaultdict(dict))
    ceilings: dict[tuple[str, str], float] = {}
    for result in results:
        for case in result.cases:
            measured = cells.metrics(case)
            title = f"{case.model} {case.engine} {case.precision}"
            if LATENCY in measured and cells.THROUGHPUT in measured:
                point = Point(case.batch, measured[LATENCY].value, measured[cells.THROUGHPUT].value)
                groups[title][result.profile][case.batch] = point
            if case.physics and case.physics.ceiling_sps:
                ceilings[title, result.profile] = case.physics.ceiling_sps
    found = {}
    for title, servers in groups.items():
        lines = [_curve(label, points, ceilings.get((title, label))) for label, points in servers.items()]
        if lines := [line for line in lines if len(line.points) > 1]:
            found[title] = lines
    return found


def knee(points: Sequence[Point]) -> int | None:
    """Return the batch at the curve's knee: the point farthest above the chord between its ends.

    Both axes are scaled to 0 … 1 first, as in Satopää et al., "Finding a 'Kneedle' in a Haystack" (2011). A curve with
    fewer than three points, or one that nowhere rises above its chord by 5 %, has no knee.
    """
    if len(points) < FEWEST_POINTS:
        return None
    first, last = points[0], points[-1]
    wide, high = last.latency_ms - first.latency_ms, last.throughput_sps - first.throughput_sps
    if wide <= 0 or high <= 0:
        return None

    def above(point: Point) -> float:
        return (point.throughput_sps - first.throughput_sps) / high - (point.latency_ms - first.latency_ms) / wide

    best = max(points[1:-1], key=above)
    return best.batch if above(best) > 0.05 else None  # noqa: PLR2004 - the 5 % of the docstring


def _curve(label: str, points: dict[int, Point], ceiling_sps: float | None) -> Curve:
    ordered = tuple(points[batch] for batch in sorted(points))
    return Curve(label, ordered, knee(ordered), ceiling_sps)
