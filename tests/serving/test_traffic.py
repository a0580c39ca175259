"""The real LoadGen against a scripted lane: its bounds, its logs, and what ends a run that would not end."""

from __future__ import annotations

import time
from statistics import median

import pytest

from pytest_gpuperf import stats
from pytest_gpuperf.errors import WorkerError
from pytest_gpuperf.serving import detail, traffic
from pytest_gpuperf.serving.plan import Target, Traffic

pytest.importorskip("mlperf_loadgen")
LANE = "fakes.lane:Lane"


def run(tmp_path, plan, **arguments):
    return traffic.run(plan, Target(kind=LANE, arguments=arguments), folder=tmp_path / "run")


def test_poisson_latency_counts_from_the_schedule(tmp_path):
    plan = Traffic(scenario="server", rate_qps=200, seconds=0.1, queries=200, limit_ms=500)
    trial = run(tmp_path, plan, service_ms="0.1", stall_at="100", stall_ms="200", holds_issuer="yes")
    assert len(trial.latencies_ms) == 200
    assert trial.problems == ()
    # The stall keeps the thread that asks: nobody is asked meanwhile, and yet all who were scheduled have waited.
    stalled = [ms for ms in trial.latencies_ms if ms > 20]
    at = trial.arrivals_ms[100]
    scheduled = sum(at < arrival <= at + 170 for arrival in trial.arrivals_ms)
    assert len(stalled) >= scheduled > 10
    assert max(trial.latencies_ms) >= 200


def test_equal_seeds_give_equal_arrivals(tmp_path):
    gaps = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        plan = Traffic(scenario="server", rate_qps=1000, seconds=0.05, queries=50, seed=seed)
        trial = traffic.run(plan, Target(kind=LANE, arguments={"service_ms": "0.1"}), folder=tmp_path / name)
        gaps.append([round(ms, 1) for ms in trial.arrivals_ms[:50]])
    assert gaps[0] == gaps[1] != gaps[2]


@pytest.mark.parametrize(("q", "needed"), [(0.9, 64), (0.99, 662)])
@pytest.mark.parametrize("missing", [0, 1])
def test_early_stopping_agrees_with_stats(tmp_path, q, needed, missing):
    assert stats.min_samples(q, 0.99, over=1) == needed
    folder = tmp_path / "run"
    plan = Traffic(
        scenario="single_stream", rate_qps=1000 * needed, seconds=0.0001, queries=needed - missing, percentile=q
    )
    traffic.run(plan, Target(kind=LANE, arguments={"service_ms": "0"}), folder=folder)
    log = detail.read((folder / "mlperf_detail.txt").read_text())
    counted = log.values["result_query_count"]
    assert counted == needed - missing
    assert log.values["early_stopping_met"] == (missing == 0)


@pytest.mark.parametrize("scenario", ["single_stream", "multi_stream", "offline"])
def test_every_scenario_gives_each_samples_latency(tmp_path, scenario):
    plan = Traffic(scenario=scenario, rate_qps=200, seconds=0.2, queries=8, samples_per_query=4)
    trial = run(tmp_path, plan, service_ms="5")
    assert len(trial.latencies_ms) >= 8
    assert min(trial.latencies_ms) >= 5
    assert trial.faults == {}
    if scenario == "single_stream":
        assert median(trial.latencies_ms) >= 5


def test_row68_a_lost_response_ends_in_a_watchdog(tmp_path):
    plan = Traffic(scenario="server", rate_qps=200, seconds=0.1, queries=100, lost_after_s=0.5)
    started = time.monotonic()
    trial = run(tmp_path, plan, service_ms="0.1", swallow="50")
    assert time.monotonic() - started < 20
    assert trial.faults == {"lost": 1}
    assert trial.over(100) == 2 or trial.over(100) == 1 + sum(ms > 100 for ms in trial.latencies_ms)


def test_row68_a_server_that_answers_nothing_is_given_up(tmp_path):
    plan = Traffic(scenario="server", rate_qps=500, seconds=0.1, queries=200, lost_after_s=0.3)
    trial = run(tmp_path, plan, swallow="all")
    assert sum(trial.faults.values()) == len(trial.latencies_ms)
    assert trial.faults["lost"] >= traffic.GIVE_UP


def test_row68_failures_and_wrong_answers_are_counted_by_kind(tmp_path):
    plan = Traffic(scenario="server", rate_qps=500, seconds=0.1, queries=100)
    trial = run(tmp_path, plan, service_ms="0.1", refuse="10", garble="55")
    assert trial.faults["wrong"] == 1
    assert trial.faults["unavailable"] == -(-len(trial.latencies_ms) // 10)


def test_row69_each_run_has_a_folder_of_its_own_and_no_audit_config(tmp_path, monkeypatch):
    (tmp_path / "audit.config").write_text("*.*.min_query_count = 7\n*.*.mode = 1\n")
    monkeypatch.chdir(tmp_path)
    trial = run(tmp_path, Traffic(scenario="server", rate_qps=1000, seconds=0.05, queries=60), service_ms="0.1")
    log = detail.read((tmp_path / "run" / "mlperf_detail.txt").read_text())
    assert log.values["effective_min_query_count"] == 60
    assert log.values["effective_test_mode"] == "PerformanceOnly"
    assert len(trial.latencies_ms) >= 50


def test_a_target_that_cannot_be_made_is_an_error_with_its_traceback(tmp_path):
    with pytest.raises(WorkerError, match=r"the load generator ended with exit status 1(.|\n)*no_such_argument"):
        run(tmp_path, Traffic(scenario="server", rate_qps=100), no_such_argument="1")


def test_a_load_generator_that_does_not_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(traffic, "MARGIN_S", -22.0)
    plan = Traffic(scenario="single_stream", rate_qps=100, seconds=0.25, lost_after_s=2)
    with pytest.raises(WorkerError, match="the load generator did not end within 3 s; it was ended"):
        run(tmp_path, plan, swallow="all")
