"""A case against its baseline: accuracy and speed ratios on any machine, absolute numbers on the same one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from pytest_gpuperf import figures, stats
from pytest_gpuperf.records import BaselineEntry, BaselineMetric, Comparison, Finding, Live, Metric, Status, Tolerance
from pytest_gpuperf.units import change, value

Reference = Literal["live pair", "portable"]

#: Allowed drift of accuracy figures where the tolerance does not name them, in percent; figures that are not here are
#: reported and do not gate (one element decides ``max_abs``, and ``sqnr_db`` says what ``rel_rmse`` says).
ACCURACY_PCT = {"top1": 0.5, "top1_agreement": 0.5, "rmse": 10.0, "rel_rmse": 10.0, "cosine": 0.1}
#: The same of an engine that was built anew from the same file: which kernels win moves the rounding of what is summed
#: in FP16. BERT-base's error at one sample a call was 0.0023 in one build on an H200 and 0.0033 in the next.
REBUILT_PCT = {"rmse": 100.0, "rel_rmse": 100.0}
#: Two correct FP32 runtimes differ by this much of the signal; drift below it is rounding.
ROUNDING_REL_RMSE = 1e-4
#: Chance that one more run of an unchanged program lies beyond the limit of a stored number.
STORED_ALPHA = 0.005


def accuracy(
    entry: BaselineEntry, current: Mapping[str, Metric], tolerance: Tolerance, *, is_rebuilt: bool = False
) -> list[Finding]:
    """Compare accuracy figures with the baseline's; they are exact, so drift beyond the tolerance is drift.

    Args:
        entry: approved baseline.
        current: this run's figures.
        tolerance: allowed drift; what it does not name has a limit here.
        is_rebuilt: whether the engine was built anew from the same file.
    """
    limits = ACCURACY_PCT | (REBUILT_PCT if is_rebuilt else {}) | tolerance.per_metric_pct
    names = [name for name in entry.metrics if name in ACCURACY_PCT]
    return [_accuracy(name, entry.metrics[name], current, limits[name]) for name in sorted(names)]


def stored(
    entry: BaselineEntry,
    current: Mapping[str, Metric],
    tolerance: Tolerance,
    *,
    same_machine: bool,
    min_processes: int,
) -> list[Finding]:
    """Compare absolute numbers with the baseline's, or say why they are context only.

    The limit is the tolerance, or where the baseline's own runs differ more, the bound that one more run of the same
    program keeps with probability ``1 - STORED_ALPHA`` (Student's prediction interval on the spread between runs).
    """
    found = []
    for name in sorted(entry.metrics.keys() - figures.ACCURACY.keys() - {figures.SPEED_RATIO}):
        base, metric = entry.metrics[name], current.get(name)
        if why := _why_context(base, same_machine=same_machine, min_processes=min_processes):
            found.append(_context(name, base, metric, why))
        else:
            found.append(_stored(name, base, metric, tolerance))
    return found


def live(pair: Live, current: Mapping[str, Metric]) -> list[Finding]:
    """Judge each figure of a live pair: the reference ran beside, so nothing need be stored."""
    if pair.missing:
        return [Finding(metric="live pair", status=Status.NEW, measured=None, note=pair.missing)]
    return [_live(name, comparison, current.get(name)) for name, comparison in pair.comparisons.items()]


def _live(name: str, comparison: Comparison, metric: Metric | None) -> Finding:
    """Word one figure: what the reference had follows from the ratio, since both ran at the same time."""
    measured = None if metric is None else replace(metric, lower=None, upper=None, n=comparison.pairs)
    if metric is None or metric.higher == "worse":
        base = None if metric is None else metric.value / comparison.ratio
        return _compared(name, comparison, measured, base, reference="live pair")
    found = _compared(name, comparison, measured, metric.value * comparison.ratio, reference="live pair")
    inverse = [_change_pct(1 / ratio, 1.0) for ratio in (comparison.ratio, comparison.upper, comparison.lower)]
    return replace(found, change_pct=inverse[0], lower_pct=inverse[1], upper_pct=inverse[2])


def portable(comparison: Comparison | None, base: BaselineMetric | None) -> Finding | None:
    """Judge the speed ratio to the reference engine, ``None`` when there is neither a ratio nor a baseline of one."""
    name = figures.SPEED_RATIO
    if comparison is None:
        if base is None:
            return None
        return Finding(
            metric=name,
            status=Status.INCONCLUSIVE,
            measured=None,
            baseline=base.value,
            reference="portable",
            note="the reference engine was not measured",
        )
    measured = figures.speed_ratio(comparison)
    if base is None:
        return Finding(
            metric=name,
            status=Status.NEW,
            measured=measured,
            reference="none",
            note="the baseline has no speed ratio",
        )
    return _compared(name, comparison, measured, base.value, reference="portable")


def published(entry: BaselineEntry, current: Mapping[str, Metric]) -> list[Finding]:
    """Show published numbers beside the measured ones; they are a floor to know of, and never gate."""
    return [
        Finding(
            metric=name,
            status=Status.PASSED,
            measured=metric,
            baseline=base.value,
            change_pct=_change_pct(metric.value, base.value),
            reference="published",
            note="worse than the published number" if _worse_pct(metric.value, base) > 0 else "",
        )
        for name, base in sorted(entry.metrics.items())
        if (metric := current.get(name)) is not None
    ]


def published_words(entry: BaselineEntry) -> str:
    """Return what a baseline of published numbers is worth, with the numbers."""
    numbers = ", ".join(value(metric.value, metric.unit) for _, metric in sorted(entry.metrics.items()))
    reason = f", {entry.provenance.reason}" if entry.provenance.reason else ""
    return f"the baseline holds published numbers only ({numbers}{reason}), which never gate"


def _compared(
    name: str,
    comparison: Comparison,
    measured: Metric | None,
    base: float | None,
    *,
    reference: Reference,
) -> Finding:
    """Word a comparison; changes are of latency, positive where the candidate is slower than expected."""
    expected = comparison.expected
    status, why = _decided(comparison)
    return Finding(
        metric=name,
        status=status,
        measured=measured,
        baseline=base,
        limit=comparison.margin_pct,
        change_pct=_change_pct(comparison.ratio, expected),
        lower_pct=_change_pct(comparison.lower, expected),
        upper_pct=_change_pct(comparison.upper, expected),
        reference=reference,
        note=why,
    )


def _decided(comparison: Comparison) -> tuple[Status, str]:
    margin = 1 + comparison.margin_pct / 100
    if comparison.decision == "regressed":
        return Status.REGRESSED, ""
    if comparison.decision == "within" or (
        comparison.upper <= comparison.expected * margin and not comparison.disturbances
    ):
        is_faster = comparison.upper < comparison.expected / margin
        return (Status.IMPROVED if is_faster else Status.PASSED), ""
    cause = ", ".join(comparison.disturbances) or f"no decision after {comparison.pairs} {comparison.unit}s"
    return Status.INCONCLUSIVE, f"{cause}; smallest effect that could have been seen {change(comparison.mde_pct)}"


def _accuracy(name: str, base: BaselineMetric, current: Mapping[str, Metric], limit: float) -> Finding:
    metric = current.get(name)
    if metric is None:
        return _missing(name, base)
    if metric.unit == "fraction":
        # A set of n samples cannot tell apart what differs by less than one of them.
        limit = max(limit, 100 / metric.n)
    rel_rmse = current.get("rel_rmse")
    is_rounding = name in ("rmse", "rel_rmse") and rel_rmse is not None and rel_rmse.value <= ROUNDING_REL_RMSE
    is_worse = not _worse_pct(metric.value, base) <= limit + 1e-9  # also true for NaN
    return Finding(
        metric=name,
        status=Status.INACCURATE if is_worse and not is_rounding else Status.PASSED,
        measured=metric,
        baseline=base.value,
        limit=limit,
        change_pct=_change_pct(metric.value, base.value),
        reference="portable",
        note="below rounding of FP32" if is_rounding else "",
    )


def _why_context(base: BaselineMetric, *, same_machine: bool, min_processes: int) -> str:
    """Say why a stored number cannot gate, or return an empty string when it can."""
    if not same_machine:
        return "context only: the baseline is another machine's"
    if base.n_processes < min_processes or base.spread_pct is None:
        return f"context only: the baseline rests on {base.n_processes} of {min_processes} processes"
    return ""


def _context(name: str, base: BaselineMetric, metric: Metric | None, why: str) -> Finding:
    return Finding(
        metric=name,
        status=Status.PASSED,
        measured=metric,
        baseline=base.value,
        change_pct=None if metric is None else _change_pct(metric.value, base.value),
        reference="none",
        note=why,
    )


def _stored(name: str, base: BaselineMetric, metric: Metric | None, tolerance: Tolerance) -> Finding:
    if metric is None:
        return _missing(name, base)
    limit = max(tolerance.limit_pct(name), prediction_limit_pct(base))
    worse = _worse_pct(metric.value, base)
    status = Status.REGRESSED if not worse <= limit else Status.IMPROVED if worse < -limit else Status.PASSED
    return Finding(
        metric=name,
        status=status,
        measured=metric,
        baseline=base.value,
        limit=limit,
        change_pct=_change_pct(metric.value, base.value),
        reference="stored",
    )


def prediction_limit_pct(base: BaselineMetric) -> float:
    """Return how far one more run of the same program may lie from the baseline, in percent."""
    n = base.n_processes
    if base.spread_pct is None or n < 2:  # noqa: PLR2004 - a spread needs two
        return math.inf
    return stats.t_quantile(1 - STORED_ALPHA, n - 1) * base.spread_pct * math.sqrt(1 + 1 / n)


def _missing(name: str, base: BaselineMetric) -> Finding:
    return Finding(
        metric=name,
        status=Status.INCONCLUSIVE,
        measured=None,
        baseline=base.value,
        note="in the baseline, but not measured this time",
    )


def _change_pct(value: float, base: float) -> float | None:
    return 100 * (value / base - 1) if base else None


def _worse_pct(value: float, base: BaselineMetric) -> float:
    """Return by how much the value is worse than the baseline, in percent of it; negative is better."""
    worse = value - base.value if base.higher == "worse" else base.value - value
    if base.value == 0:
        return math.copysign(math.inf, worse) if worse else 0.0
    return 100 * worse / abs(base.value)
