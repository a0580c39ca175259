"""What was approved: baseline entries, where they come from, and how much drift they allow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pytest_gpuperf.records.sample import Higher


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineMetric:
    """One approved number.

    Attributes:
        value: median over processes.
        spread_pct: between-process relative standard deviation in percent, ``None`` with fewer than two processes.
        n_processes: fresh processes behind ``value``.
    """

    value: float
    unit: str
    higher: Higher
    n_processes: int = 1
    spread_pct: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a number came about. ``published`` numbers are context and a floor, never a gate."""

    kind: Literal["measured", "published"]
    date: str
    reason: str
    commit: str = ""
    approver: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineEntry:
    """The approved numbers of one case with the conditions under which they hold.

    ``machine`` is the fingerprint's hashed host: absolute metrics gate only on the same one. ``samples`` holds the raw
    per-process values that the metrics summarise, so that a hand-edited value shows.
    """

    metrics: dict[str, BaselineMetric]
    conditions: dict[str, str]
    provenance: Provenance
    machine: str = ""
    samples: dict[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """How the conditions of a run differ from a baseline's: field → (baseline's, this run's)."""

    mismatched: dict[str, tuple[str, str]] = field(default_factory=dict)
    widening: dict[str, tuple[str, str]] = field(default_factory=dict)
    recorded: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Allowed drift from the baseline in percent, per metric; ``default_pct`` for metrics not named."""

    default_pct: float
    per_metric_pct: dict[str, float] = field(default_factory=dict)

    def limit_pct(self, metric: str) -> float:
        """Return the allowed drift of ``metric`` in percent, in the direction that is worse."""
        return self.per_metric_pct.get(metric, self.default_pct)
