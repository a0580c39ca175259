"""GitLab: findings beside the changed lines of a merge request (code quality), and metrics compared with the target.

The metrics report is the Prometheus text (``artifacts:reports:metrics``), see :mod:`pytest_gpuperf.report.prometheus`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from pytest_gpuperf.records import CaseResult, Status
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.order import failed
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable

SEVERITY = {
    Status.INACCURATE: "critical",
    Status.REGRESSED: "critical",
    Status.OVER_BUDGET: "critical",
    Status.CONFIG: "major",
    Status.INFRA: "minor",
    Status.NOT_COMPARABLE: "minor",
    Status.INCONCLUSIVE: "minor",
    Status.NEW: "info",
}


def code_quality(results: Sequence[Results]) -> str:
    """Return ``artifacts:reports:codequality``: one entry per case that is not green, worst first."""
    entries = [_entry(result.profile, case) for result in results for case in failed(result.cases)]
    return json.dumps(entries, indent=1) + "\n"


def _entry(profile: str, case: CaseResult) -> dict[str, object]:
    told = f"{case.id} on {profile}: {case.verdict.status.value}: {'; '.join(cells.told(case))}"
    # GitLab tells new findings from old ones by the fingerprint: it names the finding, not its numbers.
    identity = f"{profile}\0{case.id}\0{case.verdict.status.value}"
    return {
        "description": printable(told),
        "check_name": f"gpuperf-{case.verdict.status.value}",
        "fingerprint": hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest(),
        "severity": SEVERITY[case.verdict.status],
        "location": {"path": case.path or case.id.partition("::")[0], "lines": {"begin": max(1, case.line)}},
    }
