from __future__ import annotations

from pytest_gpuperf.records import Status
from pytest_gpuperf.report import html, markdown, merge
from pytest_gpuperf.report.results import Results


def session(*cases, profile="h200", **changes):
    return Results(profile=profile, fingerprint=None, cases=cases, **changes)


def test_servers_stand_side_by_side(case):
    fast = session(case(batch=8, p50_ms=0.5), case("test_b", batch=1, p50_ms=0.4))
    slow = session(
        case(batch=8, p50_ms=2.0), case("test_bert", batch=4, model="bert_base", measured=None), profile="a40"
    )
    bert, resnet = merge.side_by_side([fast, slow])
    assert resnet.title == "resnet50"
    assert resnet.columns == (
        "engine", "precision", "batch", "h200 p50 ms", "h200 samples/s", "a40 p50 ms", "a40 samples/s",
    )  # fmt: skip
    assert resnet.rows == (
        ("tensorrt", "fp16", "1", "0.400", "2 500", "-", "-"),
        ("tensorrt", "fp16", "8", "0.500", "16 000", "2.00", "4 000"),
    )
    assert bert.rows == (("tensorrt", "fp16", "4", "-", "-", "-", "-"),)


def test_the_largest_change_for_the_worse_comes_first(case):
    before = session(case("a", p50_ms=1.0), case("b", p50_ms=1.0))
    after = session(case("a", p50_ms=0.5), case("b", Status.REGRESSED, p50_ms=3.0))
    table = merge.compare(before, after)
    assert table.rows[0] == (
        "suites/vision/test_resnet50.py::b",
        "latency p50",
        "1.00 ms",
        "3.00 ms",
        "+200.0 %",
        "passed → regressed",
    )
    # Twice the throughput is the change for the better that is largest.
    assert table.rows[-1][:2] == ("suites/vision/test_resnet50.py::a", "throughput")
    assert table.rows[-1][4] == "+100.0 %"


def test_cases_of_one_run_only_are_named_first(case):
    table = merge.compare(session(case("gone")), session(case("fresh")))
    assert [row[:2] for row in table.rows] == [
        ("suites/vision/test_resnet50.py::fresh", "only after"),
        ("suites/vision/test_resnet50.py::gone", "only before"),
    ]


def test_comparing_says_that_it_is_no_verdict(case):
    table = merge.compare(session(case()), session(case()))
    for page in (markdown.document([], [table]), html.document([], [table])):
        assert "at face value" in page


def test_golden(case, golden):
    servers = {"h200": 0.5, "a40": 2.0, "a100-80gb": 1.0}
    results = [
        session(*(case(f"t[{batch}]", batch=batch, p50_ms=base + batch / 10) for batch in (1, 8)), profile=profile)
        for profile, base in servers.items()
    ]
    golden("servers.md", markdown.document(results, merge.side_by_side(results)))
