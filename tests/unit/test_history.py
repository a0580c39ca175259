"""Cumulative drift over accepted runs, and the file that they are kept in."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_gpuperf import history
from pytest_gpuperf.errors import BaselineError
from pytest_gpuperf.history import Accepted

HIGHER = {"latency_p50_ms": "worse", "throughput_sps": "better"}


def accepted(day, latency=2.0, sps=500.0, *, case="a", conditions="c", anchor=False):
    figures = {"latency_p50_ms": latency, "throughput_sps": sps, "rmse": 0.1}
    return Accepted(
        case=case, date=f"2026-11-{day:02}", commit="abc", conditions=conditions, figures=figures, anchor=anchor
    )


def test_ten_steps_of_one_percent_are_reported_by_the_sixth():
    steps = [accepted(day, 2.0 * 1.01**day) for day in range(11)]
    reported = [len(history.drifts(steps[: n + 1], HIGHER)) for n in range(11)]
    assert reported == [0] * 5 + [1] * 6
    (drift,) = history.drifts(steps[:6], HIGHER)
    assert str(drift) == "a: latency_p50_ms is 5.1 % worse than on 2026-11-00, in 5 accepted steps"


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
    "damage", ["<<<<<<< HEAD", '{"case": "a"', "[1]", '{"case": "a"}', '{"figures": {"x": NaN}}', "3"]
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
