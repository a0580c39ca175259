"""The search for the highest rate, on servers whose answer is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import stats
from pytest_gpuperf.serving import search
from pytest_gpuperf.serving.plan import Traffic, Trial


def trial(latencies, *, rate=100.0, late=None, **fields):
    return Trial(
        traffic=Traffic(scenario="server", rate_qps=rate),
        latencies_ms=tuple(latencies),
        arrivals_ms=tuple(range(len(latencies))),
        issue_delays_ms=tuple(late or [0.0] * len(latencies)),
        seconds=len(latencies) / rate,
        **fields,
    )


def server(capacity, n=838):
    """Every request is in time up to a rate, and late above it."""
    return lambda rate: trial([1.0 if rate <= capacity else 50.0] * n, rate=rate)


@given(st.floats(20, 900))
def test_the_border_is_bracketed_within_the_resolution(capacity):
    found = search.highest(server(capacity), limit_ms=10, ceiling=1000)
    assert found.good <= capacity < found.bad
    assert found.bad / found.good <= search.RESOLUTION * 1.4 or len(found.trials) == search.STEPS
    assert found.at_good.traffic.rate_qps == found.good


def test_the_rate_that_was_asked_for_is_tried_first():
    assert search.highest(server(500), limit_ms=10, ceiling=1000, first=123).trials[0] == (123, "good")


def test_no_good_rate_is_zero_and_not_a_guess():
    found = search.highest(server(0), limit_ms=10, ceiling=1000)
    assert found.good == 0
    assert found.at_good is None
    assert found.bad < 10


def test_a_server_beyond_the_ceiling_has_no_bad_rate():
    found = search.highest(server(1e9), limit_ms=10, ceiling=1000)
    assert found.good == 1000
    assert math.isinf(found.bad)


def test_time_ends_a_search():
    assert len(search.highest(server(500), limit_ms=10, ceiling=1000, until=0).trials) == 1


@pytest.mark.parametrize(("late", "n", "said"), [(0, 459, "good"), (0, 458, "open"), (1, 662, "good"), (1, 661, "open"),
                                                (2, 838, "good"), (30, 838, "bad")])  # fmt: skip
def test_a_rate_is_good_from_mlperfs_number_of_requests_on(late, n, said):
    assert search.answer(trial([99.0] * late + [1.0] * (n - late)), limit_ms=10) == said


def test_failed_requests_are_late_ones():
    assert search.answer(trial([1.0] * 838, faults={"lost": 30}), limit_ms=10) == "bad"


def test_what_was_asked_late_does_not_make_a_server_bad():
    assert search.answer(trial([99.0] * 838, late=[95.0] * 838), limit_ms=10) == "open"


def test_row69_a_run_with_problems_says_nothing():
    assert search.answer(trial([1.0] * 838, problems=("error",)), limit_ms=10) == "open"


def test_a_run_is_long_enough_for_two_late_requests():
    assert search.queries() == stats.min_samples(0.99, 0.99, over=2) == 838
