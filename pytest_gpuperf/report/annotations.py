"""Annotations: the worst cases as GitHub workflow commands, shown beside the test's own line."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_gpuperf.records import CaseResult
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.order import failed
from pytest_gpuperf.report.terminal import printable

LIMIT = 10  # more than ten of a level per step are not shown


def lines(cases: Sequence[CaseResult], *, limit: int = LIMIT) -> list[str]:
    """Return one ``::error`` line for each of the worst cases that are not green."""
    return [_line(case) for case in failed(cases)[:limit]]


def document(cases: Sequence[CaseResult]) -> str:
    """Return the lines as text."""
    return "".join(f"{line}\n" for line in lines(cases))


def _line(case: CaseResult) -> str:
    path = case.path or case.id.partition("::")[0]
    place = {"file": path, "title": f"{case.verdict.status.value}: {case.id.rpartition('::')[2]}"}
    if case.line:
        place["line"] = str(case.line)
    properties = ",".join(f"{name}={_property(value)}" for name, value in place.items())
    return f"::error {properties}::{_data(chr(10).join(map(printable, cells.told(case))))}"


def _data(text: str) -> str:
    """Escape the message: the percent sign first, since it begins the other escapes."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape a property, which a colon or a comma would end."""
    return _data(printable(text)).replace(":", "%3A").replace(",", "%2C")
