"""Absolute bounds of a case: one finding per bound that the test names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pytest_gpuperf.records import Budget, Finding, Metric, Status


class _Bound(NamedTuple):
    """Which figure a field of :class:`Budget` bounds, and what breaking the bound comes to."""

    figure: str
    status: Status


_BOUNDS = {
    "max_latency_p50_ms": _Bound("latency_p50_ms", Status.OVER_BUDGET),
    "max_latency_p99_ms": _Bound("latency_p99_ms", Status.OVER_BUDGET),
    "min_throughput_sps": _Bound("throughput_sps", Status.OVER_BUDGET),
    "max_memory_mib": _Bound("memory_mib", Status.OVER_BUDGET),
    "min_top1": _Bound("top1", Status.INACCURATE),
    "max_top1_loss": _Bound("top1_loss", Status.INACCURATE),
    "min_top1_agreement": _Bound("top1_agreement", Status.INACCURATE),
    "max_output_rmse": _Bound("rmse", Status.INACCURATE),
    "max_output_rel_rmse": _Bound("rel_rmse", Status.INACCURATE),
    "min_output_cosine": _Bound("cosine", Status.INACCURATE),
    "min_reference_classes": _Bound("reference_classes", Status.INACCURATE),
}
_WHY_MISSING = {
    "latency_p99_ms": "too few calls for a 99th percentile with a confidence bound",
    "memory_mib": "memory use cannot be read here",
    "top1": "the inputs have no labels",
    "top1_loss": "the inputs have no labels",
    "top1_agreement": "no output holds logits",
    "reference_classes": "no output holds logits",
}


def findings(figures: Mapping[str, Metric], budget: Budget) -> list[Finding]:
    """Judge each bound that is set; a figure that could not be measured is inconclusive, never a pass."""
    return [
        _finding(bound, figures.get(bound.figure), limit, is_upper=field.startswith("max_"))
        for field, bound in _BOUNDS.items()
        if (limit := getattr(budget, field)) is not None
    ]


def bound(figure: str, metric: Metric | None, limit: float, *, is_upper: bool) -> Finding:
    """Judge one bound that stands in no :class:`Budget`."""
    return _finding(_Bound(figure, Status.OVER_BUDGET), metric, limit, is_upper=is_upper)


def _finding(bound: _Bound, metric: Metric | None, limit: float, *, is_upper: bool) -> Finding:
    if metric is None:
        status, note = Status.INCONCLUSIVE, _WHY_MISSING.get(bound.figure, "not measured")
    elif _within(metric.value, limit, is_upper=is_upper):
        status, note = Status.PASSED, ""
    elif _within(_near(metric, is_upper=is_upper), limit, is_upper=is_upper):
        status, note = Status.INCONCLUSIVE, "beyond the budget, but the budget lies inside the confidence interval"
    else:
        status, note = bound.status, ""
    return Finding(metric=bound.figure, status=status, measured=metric, limit=limit, reference="budget", note=note)


def _within(value: float, limit: float, *, is_upper: bool) -> bool:
    """Return whether the bound holds; NaN never does."""
    return value <= limit if is_upper else value >= limit


def _near(metric: Metric, *, is_upper: bool) -> float:
    """Return the end of the confidence interval that speaks for the candidate, or the value where there is none."""
    end = metric.lower if is_upper else metric.upper
    return metric.value if end is None else end
