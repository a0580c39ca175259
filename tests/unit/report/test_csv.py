from __future__ import annotations

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from pytest_gpuperf.records import Status
from pytest_gpuperf.report import csv as report_csv
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable
from tests.unit.report.conftest import make_case


def rows(*cases):
    text = report_csv.document([Results(profile="h200", fingerprint=None, cases=cases)])
    return list(csv.DictReader(io.StringIO(text)))


def test_golden(cases, golden):
    golden("results.csv", report_csv.document([Results(profile="h200", fingerprint=None, cases=tuple(cases))]))


def test_a_number_has_a_row(case):
    p50 = next(row for row in rows(case()) if row["metric"] == "latency_p50_ms")
    assert (p50["profile"], p50["batch"], p50["verdict"], p50["value"], p50["unit"], p50["n"]) == (
        "h200", "8", "passed", "0.547", "ms", "900",
    )  # fmt: skip


def test_a_case_without_numbers_is_not_lost(case):
    (row,) = rows(case("test_lost", Status.INFRA, "worker died", measured=None))
    assert (row["verdict"], row["metric"], row["value"]) == ("infra", "", "")


@example("=1+1", "@SUM(A1)")
@example("+1", "-1")
@given(st.text(), st.text())
def test_text_survives_and_never_becomes_a_formula(name, reason):
    row = rows(make_case(model=name, reason=reason, status=Status.NEW))[0]
    for value, cell in ((name, row["model"]), (reason, row["reason"])):
        assert not cell.startswith(("=", "+", "-", "@"))
        assert cell.removeprefix("'") == printable(value).removeprefix("'")
