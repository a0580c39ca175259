"""From a run to an approved baseline: what may be proposed, and how a person makes it count.

A run only ever writes pending files, under ``OUT/pending/PROFILE/SUITE.json``. Accepting one moves its entries into the
baselines with the reason, the date and the person's name from git. Nothing is measured here, nothing needs a GPU.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

from pytest_gpuperf import baselines, figures, history
from pytest_gpuperf.baselines import Pending, Result
from pytest_gpuperf.errors import BaselineError, ConfigError, InfraError
from pytest_gpuperf.records import BaselineEntry, CaseResult, Provenance, Status

CI_VARIABLES = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL")

_NEVER = {
    Status.INCONCLUSIVE: "the machine could not support a verdict, so it cannot support a baseline",
    Status.INFRA: "the machine is at fault",
    Status.CONFIG: "the input is at fault",
    Status.INACCURATE: "a less accurate engine is no baseline; fix it, or change the test's accuracy bounds first",
}
_CHANGED = frozenset({Status.NEW, Status.REGRESSED, Status.IMPROVED, Status.OVER_BUDGET, Status.NOT_COMPARABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which cases of a run become pending entries, each with the reason; case id → why (not)."""

    write: dict[str, str] = field(default_factory=dict)
    skip: dict[str, str] = field(default_factory=dict)


def ci_variable(environ: Mapping[str, str]) -> str | None:
    """Return the environment variable that says that this is CI, or ``None``."""
    return next((name for name in CI_VARIABLES if environ.get(name, "").lower() not in {"", "0", "false"}), None)


def is_ci(environ: Mapping[str, str]) -> bool:
    """Whether this is CI."""
    return ci_variable(environ) is not None


def check_update(mode: str, *, is_allowed_in_ci: bool, environ: Mapping[str, str]) -> None:
    """Refuse ``--gpu-update`` in CI unless it was allowed; even then only pending files are written.

    Raises:
        ConfigError: refused.
    """
    variable = ci_variable(environ)
    if mode == "none" or variable is None or is_allowed_in_ci:
        return
    raise ConfigError(
        "--gpu-update is refused in CI: baselines change by a person's hand",
        got=f"--gpu-update={mode} with {variable}={environ[variable]}",
        hint="add --gpu-update-in-ci to collect pending files as an artefact, then: gpuperf accept pending.zip",
    )


def plan(cases: Sequence[CaseResult], approved: Mapping[str, BaselineEntry], mode: str) -> Plan:
    """Decide which cases become pending entries.

    Args:
        cases: the run's results.
        approved: the baseline entries by case id.
        mode: ``none``, ``new`` (no measured baseline yet), ``changed`` (also those that differ from it) or ``all``.
    """
    chosen = Plan()
    for case in cases:
        status, entry = case.verdict.status, approved.get(case.id)
        is_new = entry is None or entry.provenance.kind == "published"
        if case.measured is None or status in _NEVER:
            chosen.skip[case.id] = _NEVER.get(status, "nothing was measured")
        elif not any(math.isfinite(metric.value) for metric in case.measured.metrics.values()):
            chosen.skip[case.id] = "no metric has a finite value"
        elif mode == "all" or (is_new and mode != "none") or (mode == "changed" and status in _CHANGED):
            chosen.write[case.id] = "no measured baseline yet" if is_new else f"verdict {status}"
        else:
            chosen.skip[case.id] = "--gpu-update=none" if mode == "none" else f"verdict {status}: --gpu-update={mode}"
    return chosen


def result(case: CaseResult, renamed_from: str = "") -> Result:
    """Return what a reviewer needs to know of the run behind a pending entry."""
    metrics = case.measured.metrics if case.measured else {}
    bounded = {
        name: replace(metric, lower=_finite(metric.lower), upper=_finite(metric.upper))
        for name, metric in metrics.items()
        if math.isfinite(metric.value)
    }
    return Result(verdict=case.verdict.status, reason=case.verdict.reason, metrics=bounded, renamed_from=renamed_from)


def entry(case: CaseResult, *, commit: str) -> BaselineEntry:
    """Return what a measured case would be as a baseline: not approved yet, so without reason and name.

    Raises:
        ConfigError: the case was not measured.
    """
    if case.measured is None:
        raise ConfigError(f"{case.id} was not measured, so it cannot become a baseline")
    return baselines.summarise(
        figures.of(case.measured),
        case.measured.samples,
        conditions=case.measured.conditions,
        provenance=Provenance(kind="measured", date=_today(), reason="", commit=commit),
    )


def propose(
    cases: Sequence[CaseResult],
    approved: Mapping[str, BaselineEntry],
    mode: str,
    *,
    out: Path,
    profile: str,
    commit: str,
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Plan, tuple[Path, ...]]:
    """Write the pending entries of a run, one file per suite.

    Args:
        cases: the run's results.
        approved: the profile's baseline entries by case id.
        mode: of ``--gpu-update``, see :func:`plan`.
        out: folder of the run's files.
        profile: server profile.
        commit: what was measured, see :func:`git`.
        renamed: case id → entry whose test is gone and that it seems to have been.

    Returns:
        Which cases were written and which were not and why; the pending files.

    Raises:
        InfraError: a file cannot be written.
        BaselineError: a case id or suite name cannot be stored, or an older pending file is damaged.
    """
    chosen = plan(cases, approved, mode)
    paths = []
    for suite in sorted({case.suite for case in cases if case.id in chosen.write}):
        group = [case for case in cases if case.suite == suite and case.id in chosen.write]
        path = baselines.pending_path(out, profile, suite)
        baselines.update_pending(
            path,
            {case.id: entry(case, commit=commit) for case in group},
            {case.id: result(case, renamed.get(case.id, "")) for case in group},
        )
        paths.append(path)
    return chosen, tuple(paths)


def accept(
    pending: Pending,
    case_ids: Collection[str],
    *,
    root: Path,
    reason: str,
    approver: str,
    source: str,
    anchor: bool = False,
) -> tuple[Path, Path]:
    """Move pending entries into the baselines, with the reason on record, and append them to the cases' history.

    Args:
        pending: the file's content, already checked against its samples.
        case_ids: which of its cases.
        root: folder of the baselines.
        reason: why the numbers moved.
        approver: who says so.
        source: where the pending file is, for the message when the baselines cannot be written.
        anchor: whether drift is counted anew from here.

    Returns:
        The baseline file and the history.

    Raises:
        ConfigError: no reason, or no such case.
        BaselineError: the baseline or its history cannot be trusted.
        InfraError: the baselines cannot be written; the pending file still has everything.
    """
    if not reason.strip():
        raise ConfigError("a baseline moves only with a reason", hint='add --reason "why the numbers moved"')
    if missing := sorted(set(case_ids) - pending.entries.keys()):
        raise ConfigError("no such pending case", got=missing[0], expected=_some(pending.entries))
    entries = {
        case_id: replace(
            pending.entries[case_id],
            provenance=replace(
                pending.entries[case_id].provenance, reason=reason.strip(), approver=approver, date=_today()
            ),
        )
        for case_id in case_ids
    }
    path = baselines.baseline_path(root, pending.profile, pending.suite)
    past = history.path(root, pending.profile, pending.suite)
    try:
        begun = {accepted.case for accepted in history.read(past)}
        before = {case_id: old for case_id, old in baselines.read(path).entries.items() if case_id not in begun}
        baselines.update(path, entries)
        for case_id, new in sorted(entries.items()):
            if case_id in before and before[case_id].provenance.kind == "measured":  # older than the history
                history.append(past, history.of_entry(case_id, before[case_id]))
            history.append(past, history.of_entry(case_id, new, anchor=anchor))
    except (BaselineError, InfraError) as error:
        raise type(error)(
            error.what,
            got=error.got,
            expected=error.expected,
            hint=f"nothing is lost: the results are still in {source}; fix the cause and accept again",
        ) from error
    return path, past


def git(root: Path, *arguments: str) -> str:
    """Return what a git command prints, stripped; empty where git, or the repository, is missing."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, arguments of our own
            ["git", *arguments],  # noqa: S607 - the user's git
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def approver(root: Path) -> str:
    """Return the name of the person at the keyboard, as git knows it.

    Raises:
        ConfigError: git knows none.
    """
    if name := git(root, "config", "user.name"):
        return name
    raise ConfigError(
        "an approval needs a name, and git knows none", hint='git config user.name "Your Name", then again'
    )


def check_measured(pending: Pending, source: str) -> None:
    """Refuse a pending file whose provenance already claims an approval.

    Raises:
        BaselineError: someone wrote it by hand.
    """
    for case_id, entry in pending.entries.items():
        if entry.provenance.reason or entry.provenance.approver:
            raise BaselineError(
                f'{source}: $.cases["{case_id}"].provenance claims an approval',
                got=repr(entry.provenance.approver or entry.provenance.reason),
                expected="a pending entry has none before gpuperf accept",
            )


def _today() -> str:
    return datetime.now(timezone.utc).date().isoformat()


def _finite(bound: float | None) -> float | None:
    return bound if bound is not None and math.isfinite(bound) else None


def _some(case_ids: Collection[str]) -> str:
    shown = sorted(case_ids)
    return ", ".join(shown[:5]) + (f", … ({len(shown)} in all)" if len(shown) > 5 else "")  # noqa: PLR2004
