"""The text of a failed case, word for word."""

from pytest_gpuperf.records import Finding, Metric, Status, Verdict
from pytest_gpuperf.report import failure

LATENCY = Metric(value=0.547, unit="ms", n=6)
SLOWER = Finding(
    metric="latency_p50_ms",
    status=Status.REGRESSED,
    measured=LATENCY,
    baseline=0.481,
    limit=3,
    change_pct=13.72,
    lower_pct=12.9,
    upper_pct=14.6,
    reference="live pair",
)
CASE = "suites/vision/test_resnet50.py::test_resnet50_fp16[8]"


def lines(status, *findings, hints=(), reason="why"):
    return failure.lines(Verdict(status=status, reason=reason, findings=findings, hints=hints), CASE, "h200")


def test_a_regression_word_for_word():
    passed = Finding(metric="rmse", status=Status.PASSED, measured=LATENCY)
    assert lines(Status.REGRESSED, passed, SLOWER, hints=("same GPU, driver, TensorRT 8.6.0",)) == [
        "regressed: why",
        "  latency p50   0.547 ms   was 0.481 ms   +13.7 % (95 % CI +12.9 … +14.6), limit 3.0 %   live pair, 6 pairs",
        "  same GPU, driver, TensorRT 8.6.0",
        "approve: pytest --gpu-profile=h200 --gpu-update=changed -k 'test_resnet50_fp16[8]' && gpuperf review",
    ]


def test_a_speed_ratio_says_that_the_change_is_of_latency():
    finding = Finding(
        metric="speed_ratio",
        status=Status.REGRESSED,
        measured=Metric(value=1.82, unit="x", n=6),
        baseline=2.08,
        limit=10,
        change_pct=14.6,
        lower_pct=12.5,
        upper_pct=16.7,
        reference="portable",
        note="because",
    )
    assert failure.finding_line(finding) == (
        "speed ratio   1.82 x   was 2.08 x   latency +14.6 % (95 % CI +12.5 … +16.7), limit 10 %"
        "   portable, 6 pairs   (because)"
    )


def test_a_new_case_is_told_how_to_be_approved():
    finding = Finding(metric="baseline", status=Status.NEW, measured=None, note="there is none")
    assert lines(Status.NEW, finding, reason="baseline: there is none") == [
        "new: baseline: there is none",
        "approve: pytest --gpu-profile=h200 --gpu-update=new -k 'test_resnet50_fp16[8]' && gpuperf review",
    ]


def test_a_broken_budget_is_not_approved_away():
    finding = Finding(
        metric="latency_p99_ms", status=Status.OVER_BUDGET, measured=LATENCY, limit=0.5, reference="budget"
    )
    assert lines(Status.OVER_BUDGET, finding)[1:] == [
        "  latency p99   0.547 ms   budget 0.500 ms",
        "next: make it faster, or change the budget in the test and say why",
    ]


def test_accuracy_drift_can_be_approved_and_nan_cannot():
    drifted = Finding(metric="top1", status=Status.INACCURATE, measured=LATENCY, baseline=0.6, reference="portable")
    nan = Finding(metric="outputs", status=Status.INACCURATE, measured=None, note="y: 1 NaN")
    assert lines(Status.INACCURATE, drifted)[-1].startswith("approve: ")
    assert lines(Status.INACCURATE, drifted, nan)[-1] == (
        "next: find what made it less accurate; a budget or a number that is not finite cannot be approved"
    )


def test_what_decided_nothing_is_run_again():
    assert lines(Status.INCONCLUSIVE)[-1] == (
        "next: run again on a quiet machine, or give it more time: --gpu-time-budget"
    )
    assert lines(Status.INFRA)[-1] == "next: repair the machine or run on another; nothing was judged"
    assert lines(Status.CONFIG)[-1] == "next: correct the input; nothing was judged"


def test_never_more_than_twelve_lines_and_the_deciding_finding_first():
    over = Finding(metric="first", status=Status.OVER_BUDGET, measured=LATENCY, limit=0.5, reference="budget")
    text = lines(Status.OVER_BUDGET, *([SLOWER] * 12), over, hints=("a", "b", "c", "d"))
    assert len(text) == failure.MOST_LINES == 12
    assert text[1].startswith("  first ")
    assert text[7] == "  … and 7 more, see results.json"
    assert text[8:11] == ["  a", "  b", "  c"]
    exact = lines(Status.REGRESSED, *([SLOWER] * 10))
    assert len(exact) == 12
    assert not any("more" in line for line in exact)
