"""Measured numbers, bounds and an approved baseline → one verdict. Pure: opens nothing, measures nothing.

Findings are made in this order, and the worst of them decides: outputs that are not finite, absolute budgets, accuracy
against the baseline, speed against the best reference there is. From best to worst a reference is a live pair, a
portable ratio, stored numbers of the same machine; each finding says which one it used. Where a live pair was run it
decides speed, and the portable ratio is context; accuracy, budgets and stored numbers gate as they always do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_gpuperf import budgets, conditions, drift, figures
from pytest_gpuperf.records import (
    BaselineEntry,
    Budget,
    Differences,
    Finding,
    Measured,
    Status,
    Steady,
    Tolerance,
    Verdict,
)
from pytest_gpuperf.units import change, value

#: Worst first.
SEVERITY = (
    Status.CONFIG,
    Status.INFRA,
    Status.INACCURATE,
    Status.OVER_BUDGET,
    Status.REGRESSED,
    Status.NOT_COMPARABLE,
    Status.INCONCLUSIVE,
    Status.NEW,
    Status.IMPROVED,
    Status.PASSED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the caller makes of a verdict.

    Attributes:
        green: statuses with which a test passes; the plugin adds ``new`` outside CI.
        require_steady: timings taken without a steady warm-up decide nothing.
        min_processes: fresh processes behind a stored number that may gate.
    """

    green: frozenset[Status] = frozenset({Status.PASSED, Status.IMPROVED})
    require_steady: bool = True
    min_processes: int = 5

    def is_green(self, status: Status) -> bool:
        """Return whether a test with this status passes."""
        return status in self.green


def judge(
    *,
    measured: Measured,
    budget: Budget,
    entry: BaselineEntry | None,
    differences: Differences,
    tolerance: Tolerance,
    same_machine: bool,
    policy: Policy | None = None,
    found: Sequence[Finding] = (),
) -> Verdict:
    """Decide one case.

    Args:
        measured: all that the run gave.
        budget: absolute bounds of the test.
        entry: approved baseline, ``None`` when there is none.
        differences: of the conditions between ``measured`` and ``entry``.
        tolerance: allowed drift.
        same_machine: whether the entry's fingerprint is this machine's.
        policy: see :class:`Policy`.
        found: what was judged elsewhere by bounds of its own.
    """
    policy = policy or Policy()
    current = figures.of(measured)
    found = [*found, *_nonfinite(measured)]
    found += budgets.findings(current, budget)
    if measured.live is not None:
        found += drift.live(measured.live, current)
    if entry is None:
        if measured.live is None:
            found.append(_plain("baseline", Status.NEW, "there is no approved baseline for this case"))
    elif entry.provenance.kind == "published":
        found += drift.published(entry, current)
        if measured.live is None:
            found.append(_plain("baseline", Status.NEW, drift.published_words(entry)))
    elif differences.mismatched:
        found.append(_plain("conditions", Status.NOT_COMPARABLE, _mismatch(differences)))
    else:
        is_rebuilt = conditions.is_rebuilt(differences)
        found += _against(entry, measured, tolerance, policy, same_machine=same_machine, is_rebuilt=is_rebuilt)
    outcome = _verdict(_doubt(found, measured.steady) if policy.require_steady else found)
    if measured.live is None or measured.live.missing:
        return outcome
    return replace(outcome, hints=(f"live reference: {measured.live.reference}", *measured.live.notes))


def _against(
    entry: BaselineEntry,
    measured: Measured,
    tolerance: Tolerance,
    policy: Policy,
    *,
    same_machine: bool,
    is_rebuilt: bool,
) -> list[Finding]:
    """Compare with a measured baseline whose conditions match; what compares nothing is not comparable."""
    current = figures.of(measured)
    found = drift.accuracy(entry, current, tolerance, is_rebuilt=is_rebuilt)
    ratio = drift.portable(measured.comparison, entry.metrics.get(figures.SPEED_RATIO))
    if ratio is not None:
        found.append(ratio if measured.live is None else _context(ratio))
    found += drift.stored(entry, current, tolerance, same_machine=same_machine, min_processes=policy.min_processes)
    if measured.live is None and all(finding.reference == "none" for finding in found):
        found.append(_plain("baseline", Status.NOT_COMPARABLE, "nothing in the baseline can be compared here"))
    return found


def _nonfinite(measured: Measured) -> list[Finding]:
    named = measured.accuracy.nonfinite if measured.accuracy is not None else ()
    return [_plain("outputs", Status.INACCURATE, tensor) for tensor in named]


def _context(ratio: Finding) -> Finding:
    return replace(ratio, status=Status.PASSED, reference="none", note="context only: the live pair decides")


def _plain(what: str, status: Status, note: str) -> Finding:
    return Finding(metric=what, status=status, measured=None, note=note)


def _mismatch(differences: Differences) -> str:
    return "; ".join(
        f"{field} was {before or 'unset'}, is {now or 'unset'}"
        for field, (before, now) in sorted(differences.mismatched.items())
    )


def _doubt(found: Sequence[Finding], steady: Steady) -> list[Finding]:
    """Turn what timings decided into ``inconclusive`` when the warm-up never became steady."""
    if steady.is_steady:
        return list(found)
    note = f"warm-up never became steady: drift {change(steady.drift_pct)} after {value(steady.warmup_s, 's')}"
    return [
        replace(finding, status=Status.INCONCLUSIVE, note="; ".join(part for part in (note, finding.note) if part))
        if _rests_on_time(finding)
        else finding
        for finding in found
    ]


def _rests_on_time(finding: Finding) -> bool:
    """Return whether a timing decided this finding; context decides nothing and needs no doubt."""
    is_timing = finding.metric not in figures.ACCURACY and finding.metric != "memory_mib"
    # A live pair warms processes of its own up, and has repeated those that did not become steady.
    return is_timing and finding.measured is not None and finding.reference not in ("none", "published", "live pair")


def _verdict(found: Sequence[Finding]) -> Verdict:
    """Let the worst finding decide; the first of equals gives the reason."""
    worst = min(found, key=lambda finding: SEVERITY.index(finding.status), default=None)
    if worst is None:
        return Verdict(status=Status.NOT_COMPARABLE, reason="nothing was judged")
    return Verdict(status=worst.status, reason=_reason(worst, found), findings=tuple(found))


def _reason(worst: Finding, found: Sequence[Finding]) -> str:
    """Say in one sentence what decided."""
    if worst.status is Status.PASSED:
        judged = [finding for finding in found if finding.reference not in ("none", "published")]
        return f"all {len(judged)} judged figures are within their limits"
    figure = (
        worst.metric if worst.measured is None else f"{worst.metric} {value(worst.measured.value, worst.measured.unit)}"
    )
    if worst.reference == "budget" and worst.limit is not None and worst.measured is not None:
        text = f"{figure}, budget {value(worst.limit, worst.measured.unit)}"
    elif worst.change_pct is not None and worst.limit is not None:
        against = f"{change(worst.change_pct)} against the {worst.reference} reference"
        text = f"{figure}, {against}, limit {value(worst.limit)} %"
    else:
        text = figure
    return f"{text}: {worst.note}" if worst.note else text
