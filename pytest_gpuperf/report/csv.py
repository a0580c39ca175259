"""CSV: one row per case and number, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from pytest_gpuperf.records import CaseResult
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable

COLUMNS = (
    "profile", "id", "suite", "model", "engine", "precision", "batch", "verdict", "reason",
    "metric", "value", "unit", "lower", "upper", "n",
)  # fmt: skip
# A spreadsheet runs a cell that begins so as a formula, whatever its quotes.
_FORMULA = ("=", "+", "-", "@")


def document(results: Sequence[Results]) -> str:
    """Return a table with a header; a case without numbers has one row with an empty metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        for case in result.cases:
            writer.writerows(_rows(result.profile, case))
    return out.getvalue()


def _rows(profile: str, case: CaseResult) -> Iterator[list[object]]:
    own = [profile, case.id, case.suite, case.model, case.engine, case.precision]
    head = [*map(_text, own), case.batch, case.verdict.status.value, _text(case.verdict.reason)]
    measured = cells.figures_of(case)
    for name, metric in measured.items():
        yield [*head, _text(name), metric.value, metric.unit, _bound(metric.lower), _bound(metric.upper), metric.n]
    if not measured:
        yield [*head, "", "", "", "", "", ""]


def _text(value: str) -> str:
    value = printable(value)
    return f"'{value}" if value.startswith(_FORMULA) else value


def _bound(value: float | None) -> object:
    return "" if value is None else value
