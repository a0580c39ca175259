"""Every status of a verdict, what decides between two, and the sentences that say so."""

import math
from dataclasses import replace

import pytest

from pytest_gpuperf import drift, figures, verdict
from pytest_gpuperf.records import (
    AccuracyDelta,
    Artefact,
    BaselineEntry,
    BaselineMetric,
    Budget,
    Comparison,
    Differences,
    EngineInfo,
    Live,
    Measured,
    Metric,
    Provenance,
    Status,
    Steady,
    Tolerance,
)

INFO = EngineInfo(
    kind="fake",
    device="cpu",
    provider="scripted",
    precision="fp32",
    artefact=Artefact(kind="none", path="", sha256=""),
    inputs=(),
    outputs=(),
)
PAIR = Comparison(
    ratio=0.5,
    lower=0.48,
    upper=0.52,
    pairs=5,
    unit="block pair",
    mde_pct=9.0,
    seconds=4.0,
    decision="within",
    expected=0.5,
    margin_pct=10,
)
DELTA = AccuracyDelta(samples=1000, top1=0.98, reference_top1=0.985, top1_agreement=0.99, rmse=0.1, rel_rmse=0.05)
MEASURED = Measured(
    info=INFO,
    steady=Steady(is_steady=True, warmup_runs=9, warmup_s=1.5, drift_pct=0.1),
    metrics={
        "latency_p50_ms": Metric(value=2.0, unit="ms", lower=1.9, upper=2.1, n=500),
        "throughput_sps": Metric(value=500, unit="sps", higher="better"),
        "memory_mib": Metric(value=100, unit="mib"),
    },
    accuracy=DELTA,
    comparison=PAIR,
    conditions={},
)


NEAR = "beyond the budget, but the budget lies inside the confidence interval"


def base(value, unit="ms", higher="worse", n_processes=5, spread_pct=0.5):
    return BaselineMetric(value=value, unit=unit, higher=higher, n_processes=n_processes, spread_pct=spread_pct)


METRICS = {
    "speed_ratio": base(2.0, "x", "better"),
    "top1": base(0.98, "fraction", "better"),
    "top1_agreement": base(0.99, "fraction", "better"),
    "rel_rmse": base(0.05, "1"),
    "max_abs": base(0.01, "1"),
    "latency_p50_ms": base(2.0),
    "throughput_sps": base(500, "sps", "better"),
}
ENTRY = BaselineEntry(
    metrics=METRICS, conditions={}, provenance=Provenance(kind="measured", date="2026-11-22", reason="first")
)


def judge(measured=MEASURED, *, metrics=None, entry=ENTRY, budget=None, differences=None, **options):
    if metrics is not None:
        entry = replace(ENTRY, metrics=metrics)
    options = {"same_machine": True, "tolerance": Tolerance(default_pct=5), **options}
    return verdict.judge(
        measured=measured,
        budget=budget or Budget(),
        entry=entry,
        differences=differences or Differences(),
        **options,
    )


def by_metric(result, metric, reference=None):
    return next(f for f in result.findings if f.metric == metric and reference in (None, f.reference))


def timed(**values):
    return replace(
        MEASURED,
        metrics={name: replace(MEASURED.metrics[name], value=v, lower=v, upper=v) for name, v in values.items()},
    )


def paired(**changes):
    return replace(MEASURED, comparison=replace(PAIR, **changes))


def beside(**figures):
    """Add a live pair with these figures, each a change of a comparison that is within its margin."""
    usual = replace(
        PAIR, ratio=1.02, lower=1.0, upper=1.04, expected=1.0, margin_pct=5.0, decision="within", pairs=6, mde_pct=4.0
    )
    comparisons = {name: replace(usual, **changes) for name, changes in figures.items()}
    live = Live(against="git:main", reference="git:main, commit 123", comparisons=comparisons, notes=("no p99",))
    return replace(MEASURED, live=live)


def delta(**changes):
    return replace(MEASURED, accuracy=replace(DELTA, **changes))


def test_passed():
    result = judge()
    assert result.status is Status.PASSED
    assert result.reason == "all 6 judged figures are within their limits"
    assert {f.reference for f in result.findings} == {"portable", "stored"}


def test_new_without_a_baseline():
    result = judge(entry=None)
    assert (result.status, result.reason) == (
        Status.NEW,
        "baseline: there is no approved baseline for this case",
    )


def test_published_numbers_are_named():
    published = BaselineEntry(
        metrics={
            "latency_avg_ms": BaselineMetric(value=42.1, unit="ms", higher="worse"),
            "throughput_sps": BaselineMetric(value=189.0, unit="samples/s", higher="better"),
        },
        conditions={},
        provenance=Provenance(kind="published", date="2026-01-13", reason="illustrative", source="an article"),
    )
    assert judge(entry=published).reason == (
        "baseline: the baseline holds published numbers only (42.1 ms, 189 samples/s, illustrative), which never gate"
    )


def test_a_baseline_of_published_numbers_is_context():
    entry = replace(ENTRY, provenance=replace(ENTRY.provenance, kind="published"))
    result = judge(timed(latency_p50_ms=200.0), entry=entry)
    assert result.status is Status.NEW
    assert result.reason.startswith("baseline: the baseline holds published numbers only (")
    finding = by_metric(result, "latency_p50_ms")
    assert (finding.status, finding.reference, finding.note) == (
        Status.PASSED,
        "published",
        "worse than the published number",
    )
    assert finding.change_pct == pytest.approx(9900)
    assert by_metric(result, "speed_ratio").note == ""


def test_other_conditions_are_not_comparable_and_named():
    differences = Differences(mismatched={"threads": ("1", "2"), "driver": ("", "580")}, recorded={"host": ("a", "b")})
    result = judge(timed(latency_p50_ms=900), differences=differences)
    assert result.status is Status.NOT_COMPARABLE
    assert result.reason == "conditions: driver was unset, is 580; threads was 1, is 2"
    assert len(result.findings) == 1


# Accuracy.


def test_nonfinite_outputs_are_inaccurate_whatever_else():
    result = judge(delta(nonfinite=("y: 1 NaN of 64, first at [0, 3]",)), entry=None, budget=Budget(max_memory_mib=1))
    assert result.status is Status.INACCURATE
    assert result.reason == "outputs: y: 1 NaN of 64, first at [0, 3]"


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({"top1": 0.974}, "top1"),
        ({"top1_agreement": 0.984}, "top1_agreement"),
        ({"rel_rmse": 0.0551}, "rel_rmse"),
        ({"rel_rmse": math.nan}, "rel_rmse"),
    ],
)
def test_accuracy_drift_is_inaccurate(changes, figure):
    result = judge(delta(**changes), same_machine=False)
    assert result.status is Status.INACCURATE
    assert result.reason.startswith(f"{figure} ")


@pytest.mark.parametrize("changes", [{"top1": 0.976}, {"rel_rmse": 0.0549}, {"top1_agreement": 1.0}, {"rel_rmse": 0.0}])
def test_accuracy_within_tolerance_or_better_passes(changes):
    assert judge(delta(**changes)).status is Status.PASSED


def test_one_sample_is_no_drift():
    entry = {"top1_agreement": base(1.0, "fraction", "better"), "speed_ratio": METRICS["speed_ratio"]}
    assert judge(delta(samples=64, top1_agreement=63 / 64), metrics=entry).status is Status.PASSED
    assert judge(delta(samples=64, top1_agreement=62 / 64), metrics=entry).status is Status.INACCURATE


def test_rounding_of_fp32_is_no_drift():
    entry = {"rel_rmse": base(1e-6, "1"), "rmse": base(1e-6, "1"), "speed_ratio": METRICS["speed_ratio"]}
    result = judge(delta(rel_rmse=9e-5, rmse=1e-4), metrics=entry)
    assert result.status is Status.PASSED
    assert by_metric(result, "rmse").note == "below rounding of FP32"
    assert judge(delta(rel_rmse=1.1e-4, rmse=1e-4), metrics=entry).status is Status.INACCURATE


@pytest.mark.parametrize(
    ("changed", "figures", "status"),
    [
        ("engine_sha256", {"rel_rmse": 0.0999}, Status.PASSED),
        ("engine_sha256", {"rel_rmse": 0.1001}, Status.INACCURATE),
        ("engine_sha256", {"rel_rmse": 0.0999, "top1": 0.974}, Status.INACCURATE),
        ("machine", {"rel_rmse": 0.0551}, Status.INACCURATE),
    ],
)
def test_an_engine_that_was_built_anew_rounds_otherwise(changed, figures, status):
    differences = Differences(widening={changed: ("a", "b")})
    assert judge(delta(**figures), differences=differences).status is status


def test_drift_from_zero_is_drift():
    entry = {"rel_rmse": base(0.0, "1")}
    result = judge(metrics=entry)
    assert result.status is Status.INACCURATE
    assert by_metric(result, "rel_rmse").change_pct is None


def test_the_tolerance_may_name_an_accuracy_figure():
    tolerance = Tolerance(default_pct=5, per_metric_pct={"rel_rmse": 50})
    assert judge(delta(rel_rmse=0.07), tolerance=tolerance).status is Status.PASSED


# Budgets.


@pytest.mark.parametrize(
    ("budget", "status", "reason"),
    [
        (Budget(max_latency_p50_ms=1.8), Status.OVER_BUDGET, "latency_p50_ms 2.00 ms, budget 1.80 ms"),
        (
            Budget(max_latency_p50_ms=1.95),
            Status.INCONCLUSIVE,
            f"latency_p50_ms 2.00 ms, budget 1.95 ms: {NEAR}",
        ),
        (
            Budget(max_latency_p99_ms=9),
            Status.INCONCLUSIVE,
            "latency_p99_ms: too few calls for a 99th percentile with a confidence bound",
        ),
        (Budget(min_throughput_sps=501), Status.OVER_BUDGET, "throughput_sps 500 samples/s, budget 501 samples/s"),
        (Budget(max_memory_mib=99), Status.OVER_BUDGET, "memory_mib 100 MiB, budget 99.0 MiB"),
        (Budget(min_top1=0.99), Status.INACCURATE, "top1 0.980, budget 0.990"),
        (Budget(max_top1_loss=0.001), Status.INACCURATE, "top1_loss 0.00500, budget 0.00100"),
        (Budget(min_top1_agreement=0.999), Status.INACCURATE, "top1_agreement 0.990, budget 0.999"),
        (Budget(max_output_rmse=0.01), Status.INACCURATE, "rmse 0.100, budget 0.0100"),
        (Budget(max_output_rel_rmse=0.01), Status.INACCURATE, "rel_rmse 0.0500, budget 0.0100"),
        (Budget(min_output_cosine=0.9), Status.INCONCLUSIVE, "cosine: not measured"),
    ],
)
def test_budgets(budget, status, reason):
    result = judge(budget=budget)
    assert (result.status, result.reason) == (status, reason)


def test_budgets_that_hold_pass():
    budget = Budget(
        max_latency_p50_ms=2.0, min_throughput_sps=500, max_memory_mib=100, min_top1=0.98, max_output_rmse=0.1
    )
    assert judge(budget=budget).status is Status.PASSED


def test_nan_never_meets_a_budget():
    assert judge(delta(rmse=math.nan), budget=Budget(max_output_rmse=1)).status is Status.INACCURATE


# Speed by ratio.


def test_a_regressed_comparison_is_regressed():
    result = judge(paired(decision="regressed", ratio=0.6, lower=0.58, upper=0.62), same_machine=False)
    assert result.status is Status.REGRESSED
    finding = by_metric(result, "speed_ratio")
    assert (finding.change_pct, finding.lower_pct, finding.upper_pct) == pytest.approx((20, 16, 24))
    assert finding.measured.value == pytest.approx(1 / 0.6)
    assert (finding.measured.lower, finding.measured.upper) == pytest.approx((1 / 0.62, 1 / 0.58))
    assert (finding.baseline, finding.limit, finding.reference) == (2.0, 10, "portable")
    assert finding.note == ""
    assert result.reason == "speed_ratio 1.67 x, +20.0 % against the portable reference, limit 10.0 %"


def test_faster_beyond_the_margin_with_confidence_is_improved():
    assert judge(paired(ratio=0.4, lower=0.39, upper=0.45)).status is Status.IMPROVED
    assert judge(paired(ratio=0.4, lower=0.39, upper=0.46)).status is Status.PASSED


def test_undecided_is_inconclusive_with_cause_and_mde():
    result = judge(paired(decision="undecided", upper=0.56, mde_pct=12.34, pairs=12))
    assert result.status is Status.INCONCLUSIVE
    assert "no decision after 12 block pairs; smallest effect that could have been seen +12.3 %" in result.reason
    disturbed = judge(paired(decision="undecided", upper=0.52, disturbances=("5 disturbed rounds", "steal time 9%")))
    assert disturbed.status is Status.INCONCLUSIVE
    assert "5 disturbed rounds, steal time 9%; smallest effect" in disturbed.reason


def test_undecided_passes_when_all_that_the_interval_allows_is_within_the_margin():
    assert judge(paired(decision="undecided", upper=0.55)).status is Status.PASSED
    assert judge(paired(decision="undecided", upper=0.5501)).status is Status.INCONCLUSIVE


def test_a_missing_reference_or_ratio_is_never_a_pass():
    assert judge(replace(MEASURED, comparison=None)).status is Status.INCONCLUSIVE
    without = {name: metric for name, metric in METRICS.items() if name != "speed_ratio"}
    result = judge(metrics=without)
    assert (result.status, result.reason) == (Status.NEW, "speed_ratio 2.00 x: the baseline has no speed ratio")
    assert judge(replace(MEASURED, comparison=None), metrics=without).status is Status.PASSED


def test_a_live_pair_needs_no_baseline():
    live = beside(latency_p50_ms={})
    result = judge(live, entry=None)
    finding = by_metric(result, "latency_p50_ms")
    assert (result.status, finding.reference, finding.measured.value) == (Status.PASSED, "live pair", 2.0)
    assert finding.baseline == pytest.approx(2.0 / 1.02)
    assert result.hints == ("live reference: git:main, commit 123", "no p99")
    assert judge(beside(latency_p50_ms={"decision": "regressed"}), entry=None).status is Status.REGRESSED


def test_a_live_pair_decides_speed_and_the_portable_ratio_is_context():
    live = replace(beside(latency_p50_ms={}), comparison=replace(PAIR, decision="regressed", ratio=0.6, upper=0.62))
    result = judge(live, same_machine=False)
    assert result.status is Status.PASSED
    ratio = by_metric(result, "speed_ratio")
    assert (ratio.status, ratio.reference, ratio.note) == (
        Status.PASSED,
        "none",
        "context only: the live pair decides",
    )


def test_stored_numbers_and_budgets_gate_beside_a_live_pair():
    live = replace(timed(latency_p50_ms=200.0), live=beside(latency_p50_ms={}).live)
    assert judge(live).status is Status.REGRESSED
    assert judge(live, same_machine=False, budget=Budget(max_latency_p50_ms=1)).status is Status.OVER_BUDGET


def test_one_figure_of_a_live_pair_is_enough_to_regress():
    live = beside(
        latency_p50_ms={}, throughput_sps={"decision": "regressed", "ratio": 1.25, "lower": 1.2, "upper": 1.3}
    )
    result = judge(live, entry=None)
    assert result.status is Status.REGRESSED
    finding = by_metric(result, "throughput_sps")
    assert (finding.change_pct, finding.lower_pct, finding.upper_pct) == pytest.approx(
        (-20, -23.077, -16.667), abs=0.01
    )
    assert (finding.measured.value, finding.baseline) == pytest.approx((500, 625))
    assert finding.measured.n == 6
    assert by_metric(result, "latency_p50_ms").status is Status.PASSED


def test_an_undecided_figure_of_a_live_pair_names_cause_and_mde():
    disturbed = {
        "decision": "undecided",
        "upper": 1.2,
        "disturbances": ("5 disturbed rounds", "steal time 9 % of a CPU"),
    }
    result = judge(beside(latency_p50_ms=disturbed), entry=None)
    assert result.status is Status.INCONCLUSIVE
    assert result.reason.endswith(
        "5 disturbed rounds, steal time 9 % of a CPU; smallest effect that could have been seen +4.0 %"
    )


def test_a_case_that_the_reference_lacks_is_new():
    missing = replace(MEASURED, live=Live(against="git:main", reference="x", missing="commit 123 does not have m.py"))
    for entry in (None, ENTRY):
        result = judge(missing, entry=entry)
        assert (result.status, result.reason) == (Status.NEW, "live pair: commit 123 does not have m.py")


def test_a_live_pair_does_not_rest_on_the_warm_up_of_other_processes():
    unsteady = replace(beside(latency_p50_ms={}), steady=replace(MEASURED.steady, is_steady=False))
    result = judge(unsteady, entry=None)
    assert result.status is Status.PASSED


# Stored absolute numbers.


@pytest.mark.parametrize(
    ("latency", "status"),
    [(2.099, Status.PASSED), (2.101, Status.REGRESSED), (1.899, Status.IMPROVED), (1.901, Status.PASSED)],
)
def test_stored_numbers_gate_on_the_same_machine(latency, status):
    only = {name: METRICS[name] for name in ("speed_ratio", "latency_p50_ms")}
    result = judge(timed(latency_p50_ms=latency), metrics=only)
    assert by_metric(result, "latency_p50_ms").status is status
    assert by_metric(result, "latency_p50_ms").reference == "stored"


def test_throughput_regresses_downwards():
    assert judge(timed(latency_p50_ms=2.0, throughput_sps=470)).status is Status.REGRESSED
    assert judge(timed(latency_p50_ms=2.0, throughput_sps=530)).status is Status.IMPROVED


def test_the_spread_between_runs_widens_the_limit():
    only = {"speed_ratio": METRICS["speed_ratio"], "latency_p50_ms": base(2.0, spread_pct=2.0)}
    limit = 4.604094871415897 * 2.0 * math.sqrt(1.2)
    assert drift.prediction_limit_pct(only["latency_p50_ms"]) == pytest.approx(limit)
    assert judge(timed(latency_p50_ms=2.0 * (1 + (limit - 0.01) / 100)), metrics=only).status is Status.PASSED
    assert judge(timed(latency_p50_ms=2.0 * (1 + (limit + 0.01) / 100)), metrics=only).status is Status.REGRESSED
    assert drift.prediction_limit_pct(base(2.0, n_processes=1)) == math.inf


@pytest.mark.parametrize(
    ("options", "metric", "note"),
    [
        ({"same_machine": False}, base(1.0), "context only: the baseline is another machine's"),
        ({}, base(1.0, n_processes=4), "context only: the baseline rests on 4 of 5 processes"),
        ({}, base(1.0, spread_pct=None), "context only: the baseline rests on 5 of 5 processes"),
    ],
)
def test_absolute_numbers_that_cannot_gate_are_context(options, metric, note):
    result = judge(metrics={"speed_ratio": METRICS["speed_ratio"], "latency_p50_ms": metric}, **options)
    finding = by_metric(result, "latency_p50_ms")
    assert (result.status, finding.status, finding.reference, finding.note) == (
        Status.PASSED,
        Status.PASSED,
        "none",
        note,
    )
    assert finding.change_pct == pytest.approx(100)


def test_a_baseline_that_compares_nothing_here_is_not_comparable():
    result = judge(
        replace(MEASURED, comparison=None), metrics={"latency_p50_ms": METRICS["latency_p50_ms"]}, same_machine=False
    )
    assert (result.status, result.reason) == (
        Status.NOT_COMPARABLE,
        "baseline: nothing in the baseline can be compared here",
    )


def test_a_figure_of_the_baseline_that_is_gone_is_inconclusive():
    result = judge(timed(latency_p50_ms=2.0))
    assert (result.status, result.reason) == (
        Status.INCONCLUSIVE,
        "throughput_sps: in the baseline, but not measured this time",
    )


# Warm-up, order, policy.


def test_timings_without_a_steady_warm_up_decide_nothing():
    unsteady = replace(MEASURED, steady=replace(MEASURED.steady, is_steady=False, drift_pct=4.2))
    result = judge(unsteady, budget=Budget(max_memory_mib=1000))
    assert result.status is Status.INCONCLUSIVE
    assert "warm-up never became steady: drift +4.2 % after 1.50 s" in result.reason
    assert by_metric(result, "memory_mib").status is Status.PASSED
    assert by_metric(result, "rel_rmse").status is Status.PASSED
    assert judge(unsteady, policy=verdict.Policy(require_steady=False)).status is Status.PASSED


def test_accuracy_comes_before_budgets_and_budgets_before_speed():
    slow = paired(decision="regressed")
    budget = Budget(max_latency_p50_ms=1.0)
    assert judge(slow).status is Status.REGRESSED
    assert judge(slow, budget=budget).status is Status.OVER_BUDGET
    wrong = replace(slow, accuracy=replace(DELTA, top1=0.5))
    assert judge(wrong, budget=budget).status is Status.INACCURATE


def test_every_status_has_a_severity():
    assert sorted(verdict.SEVERITY) == sorted(Status)


def test_policy_says_what_is_green():
    policy = verdict.Policy()
    assert {status for status in Status if policy.is_green(status)} == {Status.PASSED, Status.IMPROVED}
    assert verdict.Policy(green=policy.green | {Status.NEW}).is_green(Status.NEW)


def test_doubt_and_reason_leave_context_alone():
    unsteady = replace(MEASURED, steady=replace(MEASURED.steady, is_steady=False, drift_pct=4.2))
    published = replace(ENTRY, provenance=replace(ENTRY.provenance, kind="published"))
    result = judge(unsteady, entry=published)
    assert by_metric(result, "latency_p50_ms", "published").status is Status.PASSED
    result = judge(unsteady, same_machine=False)
    assert by_metric(result, "latency_p50_ms", "none").status is Status.PASSED
    judged = [f for f in judge(same_machine=False).findings if f.reference not in ("none", "published")]
    assert judge(same_machine=False).reason == f"all {len(judged)} judged figures are within their limits"
    assert 0 < len(judged) < len(judge(same_machine=False).findings)


def test_a_doubted_finding_keeps_its_own_note_behind_the_doubt():
    unsteady = replace(MEASURED, steady=replace(MEASURED.steady, is_steady=False, drift_pct=4.2))
    finding = by_metric(judge(unsteady, budget=Budget(max_latency_p50_ms=1.95)), "latency_p50_ms", "budget")
    assert finding.status is Status.INCONCLUSIVE
    assert finding.note == f"warm-up never became steady: drift +4.2 % after 1.50 s; {NEAR}"


def test_budgets_are_judged_beside_published_numbers():
    published = replace(ENTRY, provenance=replace(ENTRY.provenance, kind="published"))
    result = judge(entry=published, budget=Budget(max_latency_p50_ms=1.0))
    assert by_metric(result, "latency_p50_ms", "budget").status is Status.OVER_BUDGET
    assert by_metric(result, "latency_p50_ms", "published").status is Status.PASSED


def test_a_condition_that_one_side_lacks_is_unset():
    result = judge(differences=Differences(mismatched={"xla": ("on", ""), "tf32": ("", "off")}))
    assert result.reason == "conditions: tf32 was unset, is off; xla was on, is unset"


def test_no_finding_at_all_is_said():
    nothing = verdict._verdict([])
    assert (nothing.status, nothing.reason, nothing.findings) == (Status.NOT_COMPARABLE, "nothing was judged", ())


def test_nothing_asked_for_is_said():
    alone = replace(MEASURED, comparison=None, accuracy=None)
    assert judge(alone, metrics={}).status is Status.NOT_COMPARABLE
    assert figures.of(alone) == MEASURED.metrics


def test_what_is_not_there_is_not_told_figure_by_figure():
    """Which reference was used stands once per session, see standing; no finding and no reason repeats it."""
    for result in (judge(), judge(paired(decision="regressed")), judge(timed(latency_p50_ms=900.0))):
        assert "live reference" not in result.reason
        assert not [finding for finding in result.findings if "live reference" in finding.note]
