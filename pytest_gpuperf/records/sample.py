"""What was measured: warm-up, blocks of timed calls, throughput volleys, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pytest_gpuperf.records.artefact import EngineInfo

Higher = Literal["better", "worse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """How warm-up ended: ``is_steady`` is a status, not an assumption."""

    is_steady: bool
    warmup_runs: int
    warmup_s: float
    drift_pct: float

    @property
    def call_s(self) -> float:
        """Seconds per call, roughly: good enough to plan with."""
        return self.warmup_s / max(1, self.warmup_runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive timed calls of one process, one in flight.

    Attributes:
        host_ns: submit → result of each call, nanoseconds.
        device_ns: the same calls by the device's clock, empty where there is none.
        started_ns, ended_ns: ``time.monotonic_ns`` around the block, comparable between processes of one machine.
        cpu_ns: CPU time of the measured process over the block and the check of its outputs.
    """

    host_ns: tuple[int, ...]
    device_ns: tuple[int, ...] = ()
    started_ns: int = 0
    ended_ns: int = 0
    cpu_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volley:
    """One closed-loop throughput run: ``in_flight`` calls kept outstanding for ``seconds``.

    ``held_mib`` is what the process's allocator reserves and what of it is in use, afterwards.
    """

    in_flight: int
    calls: int
    batch: int
    seconds: float
    held_mib: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number with its unit, confidence bounds and the count it rests on.

    Attributes:
        value: point estimate.
        lower, upper: 95 % bounds, ``None`` where they cannot be had.
        n: samples (or pairs, or processes) behind the estimate.
        higher: whether a larger value is ``better`` or ``worse``.
    """

    value: float
    unit: str
    lower: float | None = None
    upper: float | None = None
    n: int = 1
    higher: Higher = "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyDelta:
    """Outputs against the reference's outputs, or against labels.

    ``None`` = does not apply. Fractions are of 1; ``rmse`` and ``max_abs`` are in the output's unit, ``rel_rmse`` is
    RMSE over the reference's root mean square, ``sqnr_db`` in decibels. The worst output tensor is what counts.
    """

    samples: int
    top1: float | None = None
    reference_top1: float | None = None
    top1_agreement: float | None = None
    rmse: float | None = None
    rel_rmse: float | None = None
    max_abs: float | None = None
    cosine: float | None = None
    sqnr_db: float | None = None
    classes: int | None = None
    mcnemar_p: float | None = None
    nonfinite: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Candidate against reference, measured by alternating blocks in two processes.

    Attributes:
        ratio: candidate latency over reference latency (1.10 = 10 % slower).
        lower, upper: 95 % bounds of ``ratio``.
        pairs: replicated block pairs or process pairs, see ``unit``.
        mde_pct: smallest slowdown that this many pairs could have shown.
        disturbances: what disturbed the run, in words; empty when nothing did.
        decision: ``regressed`` and ``within`` are shown at the rule's error rates, ``undecided`` is neither.
        expected: the ratio that means no change: 1 for a live pair, the baseline's for the portable comparison.
        margin_pct: how much above ``expected`` the ratio may lie.
        p: sequential p-value of "no slower than the margin allows", valid at any look; for corrections over a suite.
    """

    ratio: float
    lower: float
    upper: float
    pairs: int
    unit: Literal["block pair", "process pair"]
    mde_pct: float
    seconds: float
    disturbances: tuple[str, ...] = ()
    decision: Literal["regressed", "within", "undecided"] = "undecided"
    expected: float = 1.0
    margin_pct: float = 0.0
    p: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A live pair: the case beside another program in fresh processes, figure by figure.

    Attributes:
        against: what was asked for, as on the command line.
        reference: the program that it was, in words: its revision, interpreter or file.
        comparisons: by figure; of throughput too a larger ratio is worse. A figure that cannot be judged is left out.
        versions: of the reference's runtime.
        notes: what was left out, and why.
        missing: why there is no reference for this case, which is new then; empty where there is one.
    """

    against: str
    reference: str
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Gauges over a measuring window, coarse enough to draw.

    Attributes:
        seconds: length of the window.
        gauges: name → means over equal parts of it, oldest first; ``None`` where nothing was sampled.
    """

    seconds: float
    gauges: dict[str, tuple[float | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that one case's run gave, before anything is judged.

    Attributes:
        samples: one value per process for each figure that varies between processes.
        distribution: latencies in ms at equally spaced ranks, the smallest first and the largest last.
        timeline: of the telemetry; of the last process where there were several, as is the distribution.
        live: beside the live reference that ``--gpu-against`` names.
    """

    info: EngineInfo
    steady: Steady
    metrics: dict[str, Metric]
    accuracy: AccuracyDelta | None
    comparison: Comparison | None
    conditions: dict[str, str]
    notes: tuple[str, ...] = ()
    telemetry: dict[str, float | None] = field(default_factory=dict)
    samples: dict[str, tuple[float, ...]] = field(default_factory=dict)
    distribution: tuple[float, ...] = ()
    timeline: Timeline | None = None
    live: Live | None = None
