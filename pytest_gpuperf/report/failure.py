"""The text of a failed case: what was measured, what it was, by how much, against what, and what to do next."""

from __future__ import annotations

import shlex
from dataclasses import replace

from pytest_gpuperf.records import Finding, Status, Verdict
from pytest_gpuperf.units import change, value

#: Lines that a failure may take in the log, all in all.
MOST_LINES = 12
_GREEN = (Status.PASSED, Status.IMPROVED)
_UNITS = ("_ms", "_sps", "_mib")
_NEXT = {
    Status.OVER_BUDGET: "next: make it faster, or change the budget in the test and say why",
    Status.INCONCLUSIVE: "next: run again on a quiet machine, or give it more time: --gpu-time-budget",
    Status.INFRA: "next: repair the machine or run on another; nothing was judged",
    Status.CONFIG: "next: correct the input; nothing was judged",
}


def lines(verdict: Verdict, case_id: str, profile: str) -> list[str]:
    """Return at most :data:`MOST_LINES` lines: the status, the findings that are not green, hints, the next command.

    Args:
        verdict: of the case.
        case_id: pytest's node id, for the command.
        profile: server profile of this run, for the command.
    """
    bad = [finding for finding in verdict.findings if finding.status not in _GREEN]
    told = {finding.note for finding in bad if finding.measured is None and finding.note in verdict.reason}
    # The finding that decided comes first, whatever order it was found in.
    bad.sort(key=lambda finding: finding.status is not verdict.status)
    head, last = [f"{verdict.status}: {verdict.reason}"], [_next(verdict, bad, case_id, profile)]
    bad = [finding for finding in bad if finding.note not in told or not finding.note]
    hints = list(verdict.hints)[:3]
    room = MOST_LINES - len(head) - len(hints) - len(last)
    shown = bad[: room if len(bad) <= room else room - 1]
    # What the reason says of a finding is not said again.
    body = [f"  {finding_line(replace(each, note='') if each.note in verdict.reason else each)}" for each in shown]
    if len(body) < len(bad):
        body.append(f"  … and {len(bad) - len(body)} more, see results.json")
    return head + body + [f"  {hint}" for hint in hints] + last


def finding_line(finding: Finding) -> str:
    """Return one finding on one line: ``latency p50  0.547 ms  was 0.481 ms  +13.7 % (95 % CI …), limit +3.0 %``."""
    unit = finding.measured.unit if finding.measured is not None else ""
    parts = [name(finding.metric)]
    if finding.measured is not None:
        parts.append(value(finding.measured.value, unit))
    if finding.baseline is not None:
        parts.append(f"was {value(finding.baseline, unit)}")
    if judged := _judged(finding, unit):
        parts.append(judged)
    if finding.reference not in ("none", "budget"):
        pairs = f", {finding.measured.n} pairs" if finding.measured and finding.lower_pct is not None else ""
        parts.append(f"{finding.reference}{pairs}")
    if finding.note:
        parts.append(f"({finding.note})" if len(parts) > 1 else finding.note)
    return "   ".join(parts)


def name(metric: str) -> str:
    """Return a metric's name as people read it: ``latency_p50_ms`` → ``latency p50``."""
    for suffix in _UNITS:
        metric = metric.removesuffix(suffix)
    return metric.replace("_", " ")


def _judged(finding: Finding, unit: str) -> str:
    """Return change, interval and limit; the change is of latency where an interval is given, positive is slower."""
    if finding.reference == "budget":
        return "" if finding.limit is None else f"budget {value(finding.limit, unit)}"
    text = "" if finding.change_pct is None else change(finding.change_pct)
    if finding.lower_pct is not None and finding.upper_pct is not None:
        slower = "latency " if finding.metric == "speed_ratio" else ""
        text = f"{slower}{text} (95 % CI {change(finding.lower_pct)[:-2]} … {change(finding.upper_pct)[:-2]})"
    if finding.limit is not None and text:
        text += f", limit {value(finding.limit, digits=2)} %"
    return text


def _next(verdict: Verdict, bad: list[Finding], case_id: str, profile: str) -> str:
    """Return the next command; what only breaks a budget, or decided nothing, is not approved away."""
    deciding = [finding for finding in bad if finding.status is verdict.status]
    if verdict.status is Status.INACCURATE and any(finding.baseline is None for finding in deciding):
        return "next: find what made it less accurate; a budget or a number that is not finite cannot be approved"
    if verdict.status in _NEXT:
        return _NEXT[verdict.status]
    update = "new" if verdict.status is Status.NEW else "changed"
    test = shlex.quote(case_id.rpartition("::")[2])
    return f"approve: pytest --gpu-profile={shlex.quote(profile)} --gpu-update={update} -k {test} && gpuperf review"
