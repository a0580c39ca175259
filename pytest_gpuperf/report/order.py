"""Which case a reader sees first: the worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pytest_gpuperf.records import CaseResult, Status

GREEN = frozenset({Status.PASSED, Status.IMPROVED})

# What the product under test did wrong comes before what kept us from knowing.
WORST_FIRST = (
    Status.INACCURATE,
    Status.REGRESSED,
    Status.OVER_BUDGET,
    Status.CONFIG,
    Status.INFRA,
    Status.NOT_COMPARABLE,
    Status.INCONCLUSIVE,
    Status.NEW,
    Status.IMPROVED,
    Status.PASSED,
)
_RANK = {status: rank for rank, status in enumerate(WORST_FIRST)}


def worst_first(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """Sort by verdict, then by the size of the change in the worse direction, then by id."""
    return sorted(cases, key=lambda case: (_RANK[case.verdict.status], -worst_change_pct(case), case.id))


def worst_change_pct(case: CaseResult) -> float:
    """Return the largest change, in percent, among the findings that gave the case its verdict; 0 if there is none."""
    changes = (
        abs(finding.change_pct)
        for finding in case.verdict.findings
        if finding.change_pct is not None and finding.status is case.verdict.status
    )
    return max(changes, default=0.0)


def failed(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """Return the cases that are not green, worst first."""
    return worst_first(case for case in cases if case.verdict.status not in GREEN)


def counts(cases: Sequence[CaseResult]) -> list[tuple[Status, int]]:
    """Count verdicts, worst first, without those that did not occur."""
    found = Counter(case.verdict.status for case in cases)
    return [(status, found[status]) for status in WORST_FIRST if found[status]]
