"""The raw per-process numbers behind each approved value: who edits one without the other is found out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from pytest_gpuperf.errors import BaselineError
from pytest_gpuperf.records import BaselineEntry, BaselineMetric, Metric, Provenance

MIN_PROCESSES = 5
"""Fresh processes below which a between-process spread means too little to judge by."""

DIGITS = 6
"""Significant digits that are stored: far below any spread, and a line stays readable."""


def summarise(
    figures: Mapping[str, Metric],
    samples: Mapping[str, Sequence[float]],
    *,
    conditions: Mapping[str, str],
    provenance: Provenance,
) -> BaselineEntry:
    """Return the baseline entry of one case.

    Args:
        figures: every figure of the case by name; one that is not finite cannot be approved and is left out.
        samples: one value per fresh process for the figures that vary between processes; the others are exact.
        conditions: what must hold for another number to be comparable.
        provenance: where the numbers come from.
    """
    values = {
        name: tuple(rounded(value) for value in samples.get(name, (metric.value,)))
        for name, metric in figures.items()
        if all(math.isfinite(value) for value in (metric.value, *samples.get(name, ())))
    }
    return BaselineEntry(
        metrics={name: _metric(values[name], figures[name]) for name in values},
        conditions=dict(conditions),
        provenance=provenance,
        machine=conditions.get("machine", ""),
        samples=values,
    )


def check(entry: BaselineEntry, at: str) -> None:
    """Check that every measured value is what its samples say.

    Raises:
        BaselineError: a value, spread or count is not that of the samples, or the samples are missing. The message
            starts with ``at``, the entry's place.
    """
    if entry.provenance.kind == "published":
        return
    for name, metric in entry.metrics.items():
        values = entry.samples.get(name, ())
        where = f'{at}.metrics["{name}"]'
        if len(values) != metric.n_processes:
            raise _unsupported(where, "n_processes", metric.n_processes, f"{len(values)}, the number of samples")
        value, spread_pct = _centre(values), _spread_pct(values)
        if not math.isclose(metric.value, value, rel_tol=10.0 ** (1 - DIGITS)):
            raise _unsupported(where, "value", metric.value, f"{value:g}, the median of the samples")
        if (metric.spread_pct is None) != (spread_pct is None) or not math.isclose(
            metric.spread_pct or 0.0, spread_pct or 0.0, rel_tol=1e-3, abs_tol=1e-3
        ):
            raise _unsupported(where, "spread_pct", metric.spread_pct, f"{spread_pct}, the spread of the samples")


def rounded(value: float) -> float:
    """Return ``value`` with the digits that are stored."""
    return float(f"{value:.{DIGITS}g}")


def _metric(values: Sequence[float], like: Metric) -> BaselineMetric:
    return BaselineMetric(
        value=_centre(values),
        unit=like.unit,
        higher=like.higher,
        n_processes=len(values),
        spread_pct=_spread_pct(values),
    )


def _centre(values: Sequence[float]) -> float:
    return rounded(statistics.median(values))


def _spread_pct(values: Sequence[float]) -> float | None:
    if len(values) < 2 or not (mean := statistics.fmean(values)):  # noqa: PLR2004 - a spread needs two
        return None
    return round(100 * statistics.stdev(values) / abs(mean), 3)


def _unsupported(where: str, field: str, got: float | None, expected: str) -> BaselineError:
    return BaselineError(
        f"{where}.{field} is not what its samples say: it was edited by hand",
        got=str(got),
        expected=expected,
        hint="undo the edit; to move a baseline, measure: pytest --gpu-update=changed, then gpuperf review",
    )
