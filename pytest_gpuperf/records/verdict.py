"""What was decided: findings, the verdict, and the whole case."""

from __future__ import annotations

from dataclasses import dataclass, field

from pytest_gpuperf.records.baseline import Differences
from pytest_gpuperf.records.sample import Measured, Metric
from pytest_gpuperf.records.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One judged metric: what it was, what it should have been, and how it was compared.

    ``reference`` says against what: ``live pair``, ``stored``, ``portable``, ``published``, ``budget`` or ``none``.
    """

    metric: str
    status: Status
    measured: Metric | None
    baseline: float | None = None
    limit: float | None = None
    change_pct: float | None = None
    lower_pct: float | None = None
    upper_pct: float | None = None
    reference: str = "none"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of one case: the worst finding decides, ``reason`` is one sentence."""

    status: Status
    reason: str
    findings: tuple[Finding, ...] = ()
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Physics:
    """A case against its GPU's limits; percentages are of the peak in the case's precision.

    Attributes:
        gflop: work per sample, 10⁹ operations.
        ceiling_sps: samples per second that the arithmetic alone allows.
        mfu_pct: model FLOP utilisation.
        memory_bound_pct: the memory's share of the time if arithmetic and traffic took turns at their peaks.
        in_flight: mean number of calls in flight at the throughput that was reached.
        best_pct: throughput in percent of the best published one for this card and model; ``best`` names it.
        flags: what cannot be right, of this case's numbers and of published ones in its baseline.
    """

    gflop: float | None = None
    ceiling_sps: float | None = None
    mfu_pct: float | None = None
    memory_bound_pct: float | None = None
    in_flight: float | None = None
    best_pct: float | None = None
    best: str = ""
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One figure of a case over its accepted runs, and this run as the last point.

    Attributes:
        points: (ISO date, value), oldest first; only runs whose conditions match this one's.
        change_points: indices into ``points`` at which another level begins.
        drift: how much worse than at the start, in words; empty when that is nothing to report.
    """

    metric: str
    points: tuple[tuple[str, float], ...]
    change_points: tuple[int, ...] = ()
    drift: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of the engine beside the same one of what it is compared with; ``None`` where a side lacks it."""

    name: str
    measured_ms: float | None
    reference_ms: float | None
    difference_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case from end to end, as the reports, the journal and the pending files need it.

    Attributes:
        id: pytest's node id.
        reference: what the ratio is relative to, in words, such as ``tensorflow fp32``.
        differences: this run's conditions against the approved ones.
        judged_against: the best reference that a finding used: ``live pair``, ``stored``, ``portable``, ``published``
            or ``none``; ``why_not_better`` says what kept the case from the next better one.
        physics: against the GPU's limits, where the server profile names them.
        trend: over accepted runs, where there are any.
        layers: where the time went, the largest difference first; empty unless it was asked for.
        path, line: where the test stands (relative to rootdir, counted from 1; 0 = unknown), for annotations.
    """

    id: str
    suite: str
    model: str
    engine: str
    precision: str
    batch: int
    verdict: Verdict
    measured: Measured | None = None
    seconds: float = 0.0
    reference: str = "none"
    differences: Differences = field(default_factory=Differences)
    judged_against: str = "none"
    why_not_better: str = ""
    path: str = ""
    line: int = 0
    physics: Physics | None = None
    trend: Trend | None = None
    layers: tuple[Layer, ...] = ()
