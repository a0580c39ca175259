"""What was decided: findings, the verdict, and the whole case."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pytest_gpuperf.records.baseline import Differences
from pytest_gpuperf.records.sample import Measured, Metric


class Status(str, Enum):
    """What a case came to. Only ``passed`` and ``improved`` are green by default."""

    PASSED = "passed"
    IMPROVED = "improved"
    REGRESSED = "regressed"
    OVER_BUDGET = "over_budget"
    INACCURATE = "inaccurate"
    NEW = "new"
    NOT_COMPARABLE = "not_comparable"
    INCONCLUSIVE = "inconclusive"
    INFRA = "infra"
    CONFIG = "config"

    def __str__(self) -> str:
        return self.value


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
class CaseResult:
    """One case from end to end, as the reports, the journal and the pending files need it.

    Attributes:
        id: pytest's node id.
        reference: what the ratio is relative to, in words, such as ``tensorflow fp32``.
        differences: this run's conditions against the approved ones.
        judged_against: the best reference that a finding used: ``live pair``, ``stored``, ``portable``, ``published``
            or ``none``; ``why_not_better`` says what kept the case from the next better one.
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
