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
    processes: Sequence[Mapping[str, Metric]], *, conditions: Mapping[str, str], provenance: Provenance, machine: str
) -> BaselineEntry:
    """Return the baseline entry of one case.

    Args:
        processes: the metrics of each fresh process that measured the case, at least one. A metric that some of them
            lack (a percentile that too few samples support) is left out.
        conditions: what must hold for another number to be comparable.
        provenance: where the numbers come from.
        machine: the fingerprint's hashed host.
    """
    names = [name for name in processes[0] if all(name in metrics for metrics in processes)]
    samples = {name: tuple(rounded(metrics[name].value) for metrics in processes) for name in names}
    return BaselineEntry(
        metrics={name: _metric(samples[name], processes[0][name]) for name in names},
        conditions=dict(conditions),
        provenance=provenance,
        machine=machine,
        samples=samples,
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
