"""What a served model's figures come to, on scripted runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_gpuperf import service
from pytest_gpuperf.records import Artefact, EngineInfo, Measured, Status, Steady
from pytest_gpuperf.serving import ServingBudget, figures, search
from pytest_gpuperf.serving.plan import Traffic, Trial
from pytest_gpuperf.serving.search import Highest
from pytest_gpuperf.serving.statistics import Statistics

INFO = EngineInfo(
    kind="fake",
    device="cpu",
    provider="fake",
    precision="fp32",
    artefact=Artefact(kind="none", path="", sha256=""),
    inputs=(),
    outputs=(),
)
STEADY = Steady(is_steady=True, warmup_runs=1, warmup_s=1.0, drift_pct=0.0)
BUDGET = ServingBudget(p99_ms=10, rate=100)


def trial(late=0, n=1000, *, rate=100.0, scenario="server", **fields):
    return Trial(
        traffic=Traffic(scenario=scenario, rate_qps=rate),
        latencies_ms=(50.0,) * late + (5.0,) * (n - late),
        arrivals_ms=tuple(range(n)),
        issue_delays_ms=(0.0,) * n,
        seconds=n / rate,
        **fields,
    )


def served(judged=None, others=(), gain=None, counted=None):
    full = trial(scenario="offline", rate=500.0, counted=counted)
    answer = "open" if judged is None else search.answer(judged, 10)
    highest = Highest(
        good=judged.traffic.rate_qps if answer == "good" else 0.0,
        bad=120.0,
        trials=(),
        at_good=judged if answer == "good" else None,
    )
    trials = tuple(filter(None, (full, judged, *others)))
    found = figures.metrics(judged, full, highest, trials, gain)
    measured = Measured(info=INFO, steady=STEADY, metrics=found, accuracy=None, comparison=None, conditions={})
    return service.Served(measured=measured, judged=judged, highest=highest, trials=trials)


def statuses(found, budget=BUDGET):
    return {finding.metric: finding.status for finding in service.findings(found, budget)}


@pytest.mark.parametrize(
    ("late", "status"), [(0, Status.PASSED), (2, Status.PASSED), (10, Status.INCONCLUSIVE), (40, Status.OVER_BUDGET)]
)
def test_the_percentile_passes_only_when_it_is_shown(late, status):
    found = service.findings(served(trial(late)), BUDGET)[0]
    assert (found.metric, found.status, found.limit) == ("latency_p99_ms", status, 10)
    assert found.note.startswith("at 100 requests/s")


def test_no_good_rate_at_all_is_over_budget():
    found = service.findings(served(), ServingBudget(p99_ms=10))[0]
    assert found.status is Status.OVER_BUDGET
    assert found.note == "at no rate, of 1 runs"


def test_row68_errors_and_wrong_answers_fail_the_case():
    one_lost = served(trial(faults={"lost": 1}))
    assert statuses(one_lost)["error_rate"] is Status.OVER_BUDGET
    assert statuses(one_lost, replace(BUDGET, max_error_rate=0.01))["error_rate"] is Status.PASSED
    wrong = service.findings(served(trial(faults={"wrong": 2})), replace(BUDGET, max_error_rate=1.0))[-1]
    assert (wrong.status, wrong.note) == (Status.INACCURATE, "2 answers are not the engine's own")


def test_row69_problems_in_the_log_are_inconclusive():
    found = service.findings(served(trial(is_valid=True, problems=("error_runtime: x",))), BUDGET)
    assert found[-1].status is Status.INCONCLUSIVE
    assert found[-1].note == "LoadGen's log: error_runtime: x"
    assert found[0].status is Status.INCONCLUSIVE


def test_throughput_and_gain_have_floors():
    budget = replace(BUDGET, min_throughput_sps=400, min_batching_gain=1.5)
    assert statuses(served(trial(), gain=2.0), budget)["batching_gain"] is Status.PASSED
    assert statuses(served(trial(), gain=1.2), budget)["batching_gain"] is Status.OVER_BUDGET
    assert statuses(served(trial(), gain=2.0), budget)["throughput_sps"] is Status.PASSED


def test_queue_and_batches_have_bounds_where_the_server_counts():
    counted = Statistics(batches={1: 10, 8: 30}, requests=250, queue_ms=4.0, compute_ms=1.0)
    budget = replace(BUDGET, max_queue_ms=5, min_mean_batch=6)
    telling = served(trial(counted=counted), counted=counted)

    assert telling.measured.metrics["queue_ms"].value == 4.0
    assert telling.measured.metrics["mean_batch"].value == 6.25
    assert statuses(telling, budget)["queue_ms"] is Status.PASSED
    assert statuses(telling, budget)["mean_batch"] is Status.PASSED
    assert statuses(telling, replace(budget, max_queue_ms=3))["queue_ms"] is Status.OVER_BUDGET
    assert statuses(telling, replace(budget, min_mean_batch=7))["mean_batch"] is Status.OVER_BUDGET
    silent = statuses(served(trial()), budget)
    assert (silent["queue_ms"], silent["mean_batch"]) == (Status.INCONCLUSIVE, Status.INCONCLUSIVE)


def test_figures_carry_their_bounds():
    found = served(trial()).measured.metrics
    assert found["max_rate_qps"].value == 100
    assert found["max_rate_qps"].upper == 120
    assert found["error_rate"].value == 0
    assert 0 < found["error_rate"].upper < 0.01
    assert found["latency_p99_ms"].lower == 5


@pytest.mark.parametrize(("second", "is_steady"), [(5.0, True), (6.0, True), (8.0, False)])
def test_a_server_is_steady_when_its_halves_agree(second, is_steady):
    warm = trial(scenario="single_stream")
    warm = replace(warm, latencies_ms=(5.0,) * 500 + (second,) * 500)
    assert figures.steady(warm).is_steady is is_steady
