"""One number in words, the same words in every format. A dash is what stands for a number that is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_gpuperf import figures, units
from pytest_gpuperf.records import AccuracyDelta, CaseResult, Finding, Metric
from pytest_gpuperf.report.failure import finding_line, name
from pytest_gpuperf.report.order import GREEN

NONE = "-"
SMALL = 1e-4
NEARLY_1 = 0.9995
LATENCY = "latency_{}_ms"
THROUGHPUT = "throughput_sps"
MOST_OTHERS = 3


def number(value: float | None, unit: str = "") -> str:
    """Write a number with its unit: nobody counts zeros or nines, and what is not 1 does not look like it.

    >>> number(0.48123, "ms"), number(3.21e-6), number(0.99999), number(None)
    ('0.481 ms', '3.21e-06', '0.99999', '-')
    """
    if value is None or not math.isfinite(value):
        return NONE
    digits = 3 if 0 < abs(value) < SMALL else 6 if NEARLY_1 <= abs(value) < 1 else None
    if digits is None:
        return units.value(value, unit)
    return f"{value:.{digits}g} {units.LABELS.get(unit, unit)}".rstrip()


def percent(fraction: float | None) -> str:
    """Write a fraction of 1 as percent.

    >>> percent(0.98333)
    '98.33 %'
    """
    return NONE if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f} %"


def quantity(metric: Metric | None, *, interval: bool = False) -> str:
    """Write a value with its unit, and its 95 % bounds when asked for and known."""
    if metric is None:
        return NONE
    text = number(metric.value, metric.unit)
    return f"{text} ({bounds(metric)})" if interval and bounds(metric) != NONE else text


def bounds(metric: Metric) -> str:
    """Write the 95 % bounds of a value."""
    if metric.lower is None or metric.upper is None:
        return NONE
    return f"{number(metric.lower)} … {number(metric.upper)}"


def metrics(case: CaseResult) -> Mapping[str, Metric]:
    """Return what was measured, nothing if nothing was."""
    return case.measured.metrics if case.measured else {}


def figures_of(case: CaseResult) -> dict[str, Metric]:
    """Return every figure of a case by its name, its shares of what is possible last; nothing if nothing is known."""
    return (figures.of(case.measured) if case.measured else {}) | figures.shares(case.physics)


def latency(case: CaseResult, percentile: str) -> str:
    """Write a latency in ms without the unit; ``percentile`` is ``p50``, ``p90`` or ``p99``."""
    metric = metrics(case).get(LATENCY.format(percentile))
    return number(metric.value if metric else None)


def throughput(case: CaseResult) -> str:
    """Write the throughput in samples/s without the unit."""
    metric = metrics(case).get(THROUGHPUT)
    return number(metric.value if metric else None)


def others(case: CaseResult) -> str:
    """Write the first numbers of a case that has none of those that have a column, such as those of a server."""
    found = metrics(case)
    if found.keys() & {THROUGHPUT, *(LATENCY.format(rank) for rank in ("p50", "p99"))}:
        return NONE
    return ", ".join(f"{name(each)} {quantity(found[each])}" for each in list(found)[:MOST_OTHERS]) or NONE


def speed_ratio(case: CaseResult, *, interval: bool = False) -> str:
    """Write how many times as fast as the reference the case is."""
    comparison = case.measured.comparison if case.measured else None
    return quantity(figures.speed_ratio(comparison), interval=interval) if comparison else NONE


def utilisation(case: CaseResult) -> str:
    """Write the model FLOP utilisation: the share of the GPU's peak that useful arithmetic takes."""
    return _share(case.physics.mfu_pct if case.physics else None)


def best_share(case: CaseResult) -> str:
    """Write the throughput as a share of the best published one for this card and model."""
    return _share(case.physics.best_pct if case.physics else None)


def remarks(case: CaseResult) -> list[str]:
    """Return what a reader should know of a case whatever its verdict: numbers that cannot be right, slow drift."""
    flags = [f"cannot be right: {flag}" for flag in case.physics.flags] if case.physics else []
    return flags + ([f"slow drift: {case.trend.drift}"] if case.trend and case.trend.drift else [])


def judged_against(case: CaseResult) -> str:
    """Write the reference of a case; a live one by name, since nothing else tells which program it was."""
    live = case.measured.live if case.measured else None
    return f"{case.judged_against} ({live.reference})" if live and live.comparisons else case.judged_against


def _share(pct: float | None) -> str:
    return NONE if pct is None else f"{pct:.1f} %"


def accuracy(delta: AccuracyDelta | None) -> str:
    """Write the one accuracy number that says most: NaN first, then labelled top-1, agreement, error."""
    if delta is None:
        return NONE
    if delta.nonfinite:
        return "NaN/Inf"
    if delta.top1 is not None:
        return f"top-1 {percent(delta.top1)}"
    if delta.top1_agreement is not None:
        return f"agrees {percent(delta.top1_agreement)}"
    if delta.rel_rmse is not None:
        return f"rel. RMSE {number(delta.rel_rmse)}"
    return NONE if delta.rmse is None else f"RMSE {number(delta.rmse)}"


def told(case: CaseResult) -> list[str]:
    """Return what is wrong, a line each: the reason, then every judged number that is not green and not yet told."""
    reason = case.verdict.reason
    bad = [found for found in case.verdict.findings if found.status not in GREEN]
    return [reason, *(finding_line(found) for found in bad if found.measured or found.note not in reason)]


def change(found: Finding) -> str:
    """Write a finding's change in percent with its sign, and its interval where that is known."""
    if found.change_pct is None:
        return NONE
    text = units.change(found.change_pct)
    if found.lower_pct is not None and found.upper_pct is not None:
        text += f" (95 % CI {found.lower_pct:+.1f} … {found.upper_pct:+.1f})"
    return text


def limit(found: Finding) -> str:
    """Write a finding's limit: a budget in the figure's unit, any other as a drift in percent."""
    if found.limit is None:
        return NONE
    unit = found.measured.unit if found.measured else ""
    return number(found.limit, unit) if found.reference == "budget" else number(found.limit, "pct")
