"""Steps in a series: found where they are, and not where there are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuperf import changepoints


def series(n, *, rho=0.0, sd=0.02, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=n) * np.sqrt(1 - rho**2)
    for t in range(1, n):
        noise[t] += rho * noise[t - 1]
    return np.exp(sd * noise)


def stepped(before, after, size, **options):
    values = series(before + after, **options)
    values[before:] *= 1 + size
    return values


def test_a_clear_step_is_found_at_its_place():
    (point,) = changepoints.find(stepped(30, 20, 0.1, sd=0.005))
    assert point.index == 30
    assert point.change_pct == pytest.approx(10, abs=0.5)
    assert point.before == pytest.approx(1, abs=0.01)


def test_two_steps_are_found_in_order():
    values = stepped(30, 40, 0.2)
    values[50:] /= 1.1
    points = changepoints.find(values)
    assert [point.index for point in points] == [30, 50]
    assert points[0].after == points[1].before


def test_statistics_are_least_squares_without_correlation():
    values = np.log(stepped(7, 5, 0.05, seed=3))
    statistics = changepoints._statistics(values[None], np.zeros(1))[0]
    for column, split in enumerate(range(3, 10)):
        a, b = values[:split], values[split:]
        pooled = (((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / 10
        expected = abs(b.mean() - a.mean()) / np.sqrt(pooled * (1 / len(a) + 1 / len(b)))
        assert statistics[column] == pytest.approx(expected)


def test_statistics_are_generalised_least_squares_with_correlation():
    rho, values, n = 0.6, np.log(stepped(7, 5, 0.05, seed=3)), 12
    covariance = rho ** np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / (1 - rho**2)
    inverse = np.linalg.inv(covariance)
    design = np.stack([np.ones(n), np.arange(n) >= 7], axis=1)
    bread = np.linalg.inv(design.T @ inverse @ design)
    beta = bread @ design.T @ inverse @ values
    left = values - design @ beta
    expected = abs(beta[1]) / np.sqrt(bread[1, 1] * (left @ inverse @ left) / (n - 2))
    assert changepoints._statistics(values[None], np.array([rho]))[0][7 - 3] == pytest.approx(expected)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_noise_has_few_steps(rho):
    found = sum(len(changepoints.find(series(100, rho=rho, seed=seed))) for seed in range(40))
    assert found <= 9  # 4000 points at 0.8 per 1000: more than 9 has a chance of 0.2 %


def test_a_spike_is_no_step():
    values = series(60, seed=2)
    values[[20, 40]] *= 1.5
    assert changepoints.find(values) == []


def test_short_and_constant_series_have_none():
    assert changepoints.find([1.0, 2.0, 3.0]) == []
    assert changepoints.find([]) == []
    assert changepoints.find([2.5] * 30) == []


@settings(max_examples=20, deadline=None)
@given(st.floats(0.001, 1000), st.integers(0, 50))
def test_the_unit_does_not_matter(scale, seed):
    values = stepped(20, 10, 0.08, seed=seed)
    plain = [point.index for point in changepoints.find(values)]
    assert [point.index for point in changepoints.find(values * scale)] == plain
