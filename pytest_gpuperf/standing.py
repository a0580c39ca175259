"""Which reference a case was held against, and why not a better one: one sentence per case, for every report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuperf.records import BaselineEntry, Differences, Finding

RANK = ("live pair", "stored", "portable", "published", "none")
"""References, best first."""
NO_LIVE = "no live reference was run (--gpu-against)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The best reference of a case; ``why`` is empty for a live pair, which nothing beats."""

    reference: str
    why: str


def of(
    findings: Sequence[Finding],
    entry: BaselineEntry | None,
    differences: Differences,
    *,
    same_machine: bool,
    min_processes: int,
) -> Standing:
    """Return the best reference that any finding used, and what kept the case from the next better one.

    Args:
        findings: of the case's verdict.
        entry: its baseline.
        differences: between its conditions and the baseline's.
        same_machine: whether the baseline is this machine's.
        min_processes: fresh processes that a stored comparison needs.
    """
    used = {finding.reference for finding in findings}
    reference = next((name for name in RANK[:-1] if name in used), "none")
    if reference == "live pair":
        return Standing(reference=reference, why="")
    if reference == "stored":
        return Standing(reference=reference, why=NO_LIVE)
    return Standing(reference=reference, why=_why(entry, differences, same_machine, min_processes))


def _why(entry: BaselineEntry | None, differences: Differences, same_machine: bool, min_processes: int) -> str:
    if entry is None:
        return "there is no baseline"
    if entry.provenance.kind == "published":
        return "the baseline holds published numbers only, which never gate"
    if differences.mismatched:
        return f"the baseline's conditions differ: {', '.join(sorted(differences.mismatched))}"
    if not same_machine:
        return "the baseline is another machine's"
    processes = min((metric.n_processes for name, metric in entry.metrics.items() if name.endswith(_TIMES)), default=0)
    if processes < min_processes:
        return f"the baseline rests on {processes} of {min_processes} processes"
    return NO_LIVE


_TIMES = ("_ms", "_sps")
