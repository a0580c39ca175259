"""Whether approved baselines are protected: does CODEOWNERS make somebody look at changes below ``baselines/``?"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from pytest_gpuperf.health import Problem

PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS")
PROBE = "baselines/a40/suite.json"


def check(root: Path) -> tuple[Problem, ...]:
    """Return what is missing or wrong in the CODEOWNERS file of the repository at ``root``."""
    path = next((root / place for place in PLACES if (root / place).is_file()), None)
    if path is None:
        return (_problem("no CODEOWNERS file: anybody may change baselines/ in a pull request"),)
    where = str(path.relative_to(root))
    owners: list[str] | None = None
    problems = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        pattern, *named = line.split("#", 1)[0].split()[:] or [""]
        if not pattern or pattern.startswith(("[", "^[")):  # GitLab's section headers
            continue
        bad = [owner for owner in named if "@" not in owner]
        if bad:
            problems.append(_problem(f"{where}:{number}: {bad[0]!r} is no owner, so the line protects nothing"))
        elif covers(pattern):
            owners = named  # the last line that matches counts
    if owners is None:
        problems.append(_problem(f"{where} has no line for baselines/"))
    elif not owners:
        problems.append(_problem(f"{where}: the line that matches baselines/ names no owner"))
    return tuple(problems)


def covers(pattern: str) -> bool:
    """Return whether a CODEOWNERS pattern matches the files below ``baselines/``."""
    bare = pattern.lstrip("/")
    if bare in {"*", "**"}:
        return True
    if bare.endswith("/"):
        return PROBE.startswith(bare) or (not pattern.startswith("/") and f"/{bare}" in f"/{PROBE}")
    if "/" not in bare:
        return any(fnmatchcase(part, bare) for part in PROBE.split("/"))
    return fnmatchcase(PROBE, bare) or fnmatchcase(PROBE, f"{bare}/*")


def _problem(cause: str) -> Problem:
    step = "add '/baselines/ @your-team' to CODEOWNERS and require its review in the branch's protection"
    return Problem(status=None, code="BASELINES_UNPROTECTED", cause=cause, next_step=step, where="repository")
