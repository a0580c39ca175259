"""Which case ids a baseline may have."""

from __future__ import annotations

from pytest_gpuperf.errors import BaselineError

MAX_ID = 256
"""Longest case id: a longer one is a parametrisation by data, which no one can review."""


def check(case_id: str, at: str) -> None:
    """Refuse a case id that could lead out of the tree, break a terminal or defy review.

    Raises:
        BaselineError: the message starts with ``at``.
    """
    shown = repr(case_id if len(case_id) <= MAX_ID else f"{case_id[:40]}…")
    if not case_id or len(case_id) > MAX_ID:
        hint = "give the parameters short names: pytest.param(…, id='short')"
        got = f"{len(case_id)} characters: {shown}"
        raise BaselineError(f"{at}: not a case id", got=got, expected=f"1 to {MAX_ID} characters", hint=hint)
    path = case_id.partition("::")[0]
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise BaselineError(f"{at}: not a case id", got=shown, expected="a path inside the repository, without '..'")
    if not case_id.isprintable():
        raise BaselineError(f"{at}: not a case id", got=shown, expected="printable characters only")
