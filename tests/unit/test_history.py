"""Cumulative drift over accepted runs, and the file that they are kept in."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pytest_gpuperf import conditions, history
from pytest_gpuperf.errors import BaselineError, InfraError
from pytest_gpuperf.history import Accepted
from pytest_gpuperf.records import (
    Artefact,
    BaselineEntry,
    BaselineMetric,
    CaseResult,
    Comparison,
    EngineInfo,
    Measured,
    Metric,
    Provenance,
    Status,
    Steady,
    Tolerance,
    Verdict,
)

HIGHER = {"latency_p50_ms": "worse", "throughput_sps": "better"}


def accepted(day, latency=2.0, sps=500.0, *, case="a", conditions="c", **more):
    figures = {"latency_p50_ms": latency, "throughput_sps": sps, "rmse": 0.1}
    return Accepted(case=case, date=f"2026-11-{day:02}", commit="abc", conditions=conditions, figures=figures, **more)


def test_ten_steps_of_one_percent_are_reported_by_the_sixth():
    steps = [accepted(day, 2.0 * 1.01**day) for day in range(11)]
    reported = [len(history.drifts(steps[: n + 1], HIGHER)) for n in range(11)]
    assert reported == [0] * 5 + [1] * 6
    (drift,) = history.drifts(steps[:6], HIGHER)
    assert str(drift) == "latency_p50_ms is 5.1 % worse than on 2026-11-00, in 5 steps"


def test_steps_back_and_forth_are_no_drift():
    assert history.drifts([accepted(day, 2.0 * 1.04 ** (day % 2)) for day in range(20)], HIGHER) == []


def test_throughput_drifts_downwards_and_the_furthest_comes_first():
    found = history.drifts([accepted(1), accepted(2, 2.2, 400)], HIGHER)
    assert [(drift.figure, drift.worse_pct) for drift in found] == [
        ("throughput_sps", pytest.approx(25)),
        ("latency_p50_ms", pytest.approx(10)),
    ]
    assert history.drifts([accepted(1), accepted(2, 1.0, 900)], HIGHER) == []


def test_a_declared_anchor_starts_anew():
    steps = [accepted(1, 2.0), accepted(2, 3.0, anchor=True), accepted(3, 3.1)]
    assert history.drifts(steps, HIGHER) == []
    assert len(history.drifts([*steps, accepted(4, 3.2)], HIGHER)) == 1


def test_other_conditions_and_other_cases_do_not_mix():
    mixed = [accepted(1, 1.0, conditions="old"), accepted(2, 2.0), accepted(3, 1.0, case="b"), accepted(4, 2.05)]
    assert history.drifts(mixed, HIGHER) == []
    assert [drift.case for drift in history.drifts([*mixed, accepted(5, 9.0)], HIGHER)] == ["a"]


def test_absolute_numbers_of_another_machine_do_not_mix_but_ratios_do():
    def at(day, machine, ms, ratio):
        return replace(accepted(day, machine=machine), figures={"latency_p50_ms": ms, "speed_ratio": ratio})

    steps = [at(1, "old", 1.0, 4.0), at(2, "new", 9.0, 3.9), at(3, "new", 9.1, 3.0)]
    assert [(drift.figure, drift.since) for drift in history.drifts(steps)] == [("speed_ratio", "2026-11-01")]


def test_what_one_step_may_be_is_no_drift():
    steps = [accepted(1, 2.0), accepted(2, 2.2)]
    assert history.drifts(steps, HIGHER, Tolerance(default_pct=15.0)) == []
    assert len(history.drifts(steps, HIGHER, Tolerance(default_pct=3.0))) == 1
    assert len(history.drifts(steps, HIGHER, Tolerance(default_pct=15.0, per_metric_pct={"latency_p50_ms": 3.0}))) == 1


def test_drift_from_zero_is_unbounded():
    found = history.drifts([accepted(1, 0.0), accepted(2, 1.0)], HIGHER)
    assert found[0].worse_pct == math.inf
    assert history.drifts([accepted(1, 0.0), accepted(2, 0.0)], HIGHER) == []


def test_what_is_appended_is_read_back(tmp_path):
    path = tmp_path / "history" / "digits.jsonl"
    assert history.read(path) == []
    entries = [accepted(1), accepted(2, anchor=True)]
    for entry in entries:
        history.append(path, entry)
    assert history.read(path) == entries
    assert path.read_text().splitlines()[0].startswith('{"anchor": false, "case": "a", "commit": "abc"')


def test_lines_that_git_joined_out_of_order_are_put_in_order(tmp_path):
    path = tmp_path / "digits.jsonl"
    for day in (1, 3, 2):
        history.append(path, accepted(day))
    assert [entry.date[-2:] for entry in history.read(path)] == ["01", "02", "03"]


def test_a_renamed_case_takes_its_past_along(tmp_path):
    path = tmp_path / "digits.jsonl"
    history.rename(path, "a", "b")
    assert not path.exists()
    for case in ("a", "other"):
        history.append(path, accepted(1, case=case))
    history.rename(path, "a", "b")
    assert [entry.case for entry in history.read(path)] == ["b", "other"]


def test_a_history_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "history").write_text("a file in the folder's place")
    with pytest.raises(InfraError, match=r"cannot write .*digits\.jsonl"):
        history.append(tmp_path / "history" / "digits.jsonl", accepted(1))


def test_lines_of_many_writers_do_not_mix(tmp_path):
    path = tmp_path / "digits.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: history.append(path, accepted(day)), range(200)))
    assert sorted(entry.date for entry in history.read(path)) == sorted(f"2026-11-{day:02}" for day in range(200))


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(BaselineError, match="history of a: latency_p50_ms is not finite"):
        history.append(tmp_path / "x.jsonl", accepted(1, math.nan))
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.parametrize(
    "damage", ["<<<<<<< HEAD", '{"case": "a"', "[1]", '{"case": "a"}', '{"figures": {"x": NaN}}', "3", "[]]"]
)
def test_a_damaged_line_is_named(tmp_path, damage):
    path = tmp_path / "digits.jsonl"
    history.append(path, accepted(1))
    with path.open("a") as file:
        file.write(damage + "\n")
    with pytest.raises(BaselineError) as error:
        history.read(path)
    assert str(error.value) == (
        f"{path}:2: damaged history line\n  got:      {damage}\n"
        "  expected: one JSON object per line, as written on accept\n  next:     restore the file from git"
    )


# --- trends ---


def case(ms, ratio=0.5, **conditions):
    return CaseResult(
        id="a",
        suite="s",
        model="m",
        engine="e",
        precision="fp16",
        batch=8,
        verdict=Verdict(status=Status.PASSED, reason=""),
        measured=Measured(
            info=EngineInfo(
                kind="e",
                device="cpu",
                provider="",
                precision="fp16",
                artefact=Artefact(kind="none", path="", sha256=""),
                inputs=(),
                outputs=(),
            ),
            steady=Steady(is_steady=True, warmup_runs=1, warmup_s=0.1, drift_pct=0.0),
            metrics={"latency_p50_ms": Metric(value=ms, unit="ms")},
            accuracy=None,
            comparison=Comparison(
                ratio=1 / ratio, lower=1.9, upper=2.1, pairs=9, unit="block pair", mde_pct=1.0, seconds=1.0
            ),
            conditions={"batch": "8", "machine": "here", **conditions},
        ),
    )


def past(*latencies, machine="here"):
    digest = conditions.digest({"batch": "8"})
    return [
        replace(
            accepted(day, ms, conditions=digest, machine=machine), figures={"latency_p50_ms": ms, "speed_ratio": 0.5}
        )
        for day, ms in enumerate(latencies, start=1)
    ]


def trend(this, history_):
    (found,) = history.trace([this], history_, Tolerance(default_pct=3.0))
    return found.trend


def test_a_trend_ends_with_the_run_itself():
    found = trend(case(2.02), past(2.0, 2.01))
    assert (found.metric, found.drift, found.change_points) == ("latency_p50_ms", "", ())
    assert [value for _, value in found.points] == [2.0, 2.01, 2.02]
    assert found.points[0][0] == "2026-11-01"


def test_ten_passing_steps_of_one_percent_drift_by_the_sixth():
    latencies = [2.0 * 1.01**step for step in range(11)]
    told = [trend(case(latencies[n]), past(*latencies[:n])).drift for n in range(1, 11)]
    assert told[:4] == [""] * 4
    assert told[4] == "latency_p50_ms is 5.1 % worse than on 2026-11-01, in 5 steps"
    assert all(told[4:])


@pytest.mark.parametrize("status", [Status.INCONCLUSIVE, Status.REGRESSED, Status.INFRA])
def test_a_number_that_did_not_pass_is_no_drift(status):
    slow = replace(case(3.0), verdict=Verdict(status=status, reason=""))
    assert trend(slow, past(2.0)).drift == ""
    assert trend(case(3.0), past(2.0)).drift != ""


def test_the_figure_that_drifted_is_the_one_that_is_shown():
    assert trend(case(2.0, ratio=0.4), past(2.0, 2.0)).metric == "speed_ratio"


def test_on_another_machine_the_ratio_is_followed():
    assert trend(case(9.0), past(2.0, 2.0, machine="there")).metric == "speed_ratio"


def test_a_step_is_marked():
    found = trend(case(2.4), past(*[2.0, 2.01, 1.99, 2.0, 2.01, 1.99, 2.0], *[2.4, 2.41, 2.39, 2.4, 2.41]))
    assert found.change_points == (7,)


def test_no_past_no_trend():
    assert trend(case(2.0), []) is None
    assert trend(case(2.0, novel="x"), past(2.0)) is None
    assert trend(replace(case(2.0), measured=None), past(2.0)) is None


def test_absolute_figures_are_remembered_only_where_enough_processes_were_measured():
    def metric(value, processes):
        return BaselineMetric(value=value, unit="1", higher="worse", n_processes=processes)

    entry = BaselineEntry(
        metrics={
            "latency_p50_ms": metric(2.0, 5),
            "throughput_sps": metric(500.0, 1),
            "speed_ratio": metric(1.5, 1),
            "rmse": metric(0.1, 5),
        },
        conditions={"batch": "1"},
        provenance=Provenance(kind="measured", date="2026-11-01", reason="first"),
        machine="m",
    )
    assert history.of_entry("a", entry).figures == {"latency_p50_ms": 2.0, "speed_ratio": 1.5}
