from __future__ import annotations

from pytest_gpuperf.records import Fingerprint, Status
from pytest_gpuperf.report import html, markdown, merge
from pytest_gpuperf.report.results import Results


def session(*cases, profile="h200", **changes):
    return Results(**{"fingerprint": None} | changes, profile=profile, cases=cases)


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


def four_servers(case):
    """Sessions as for the article's tables: TensorFlow in FP32 and TensorRT in FP16 on each of its servers and ours."""
    servers = {"a40": 2.0, "a100-80gb": 1.0, "rtx6000-ada": 1.5, "h200": 0.5}
    return [
        session(
            *(
                case(
                    f"t_{engine}[{batch}]",
                    engine=engine,
                    precision=precision,
                    batch=batch,
                    p50_ms=slow * base + batch / 10,
                )
                for engine, precision, slow in (("tensorflow", "fp32", 4), ("tensorrt", "fp16", 1))
                for batch in (1, 8)
            ),
            profile=profile,
            fingerprint=Fingerprint(machine="", hardware={"gpu": f"GPU of {profile} x 2"}, software={}),
        )
        for profile, base in servers.items()
    ]


def test_golden(case, golden):
    results = four_servers(case)
    golden("servers.md", markdown.document(results, [*merge.side_by_side(results), *merge.by_server(results)]))


def test_servers_of_one_batch_stand_together_with_what_moving_from_fp32_buys(case):
    (table,) = merge.by_server(four_servers(case))
    assert [row[:4] for row in table.rows[:5]] == [
        ("a40 (GPU of a40 x 2)", "1", "tensorflow", "fp32"),
        ("a100-80gb (GPU of a100-80gb x 2)", "1", "tensorflow", "fp32"),
        ("rtx6000-ada (GPU of rtx6000-ada x 2)", "1", "tensorflow", "fp32"),
        ("h200 (GPU of h200 x 2)", "1", "tensorflow", "fp32"),
        ("a40 (GPU of a40 x 2)", "1", "tensorrt", "fp16"),
    ]
    assert [row[6] for row in table.rows[:8]] == ["1.00 x"] * 4 + ["3.86 x", "3.73 x", "3.81 x", "3.50 x"]


def test_without_tensorflow_an_engine_is_set_beside_its_own_fp32_and_what_is_not_known_is_a_dash(case):
    own = session(case("a", precision="fp32", p50_ms=2.0), case("b", precision="int8", p50_ms=0.5), case("c", batch=1))
    (table,) = merge.by_server([own, session(case("d", measured=None), profile="a40")])
    assert [(row[0], row[3], row[6]) for row in table.rows] == [
        ("h200", "fp16", "-"), ("h200", "fp32", "1.00 x"), ("a40", "fp16", "-"), ("h200", "int8", "4.00 x"),
    ]  # fmt: skip
