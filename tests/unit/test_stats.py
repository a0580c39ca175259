"""Statistics against numbers worked out by hand or by another library, and properties that must always hold."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from pytest_gpuperf import stats

finite = st.floats(-1e6, 1e6)
values = st.lists(finite, min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("q", "expected"), [(0, 10), (1, 50), (0.5, 30), (0.25, 20), (0.9, 46), (0.99, 49.6), (0.125, 15)]
)
def test_percentile_interpolates_between_ranks(q, expected):
    assert stats.percentile([50, 10, 40, 20, 30], q) == pytest.approx(expected)


@given(values, st.floats(0, 1))
def test_percentile_is_numpys_default(numbers, q):
    assert stats.percentile(numbers, q) == pytest.approx(np.percentile(numbers, 100 * q), abs=1e-6)


@given(values)
def test_percentile_is_monotonic_and_within_range(numbers):
    points = [stats.percentile(numbers, q) for q in (0, 0.1, 0.5, 0.9, 1)]
    assert points[0] == min(numbers)
    assert points[-1] == max(numbers)
    assert all(a <= b + 1e-9 for a, b in pairwise(points))


def test_percentile_refuses_nonsense():
    with pytest.raises(ValueError, match="percentile of no values"):
        stats.percentile([], 0.5)
    with pytest.raises(ValueError, match=r"quantile must lie in 0 … 1, got 50"):
        stats.percentile([1.0], 50)


def test_location_and_spread_by_hand():
    numbers = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]
    assert stats.mean(numbers) == 5
    assert stats.median(numbers) == 4.5
    assert stats.standard_deviation(numbers) == pytest.approx(math.sqrt(32 / 7))
    assert stats.relative_spread_pct(numbers) == pytest.approx(100 * math.sqrt(32 / 7) / 5)
    assert stats.mad(numbers) == 0.5
    assert pytest.approx(1 / scipy_stats.norm.ppf(0.75)) == stats.MAD_TO_SD


@given(st.lists(finite, min_size=2, max_size=30), finite)
def test_spread_does_not_move_with_location(numbers, shift):
    moved = [number + shift for number in numbers]
    assert stats.standard_deviation(moved) == pytest.approx(stats.standard_deviation(numbers), abs=1e-5)


def test_spread_needs_two():
    with pytest.raises(ValueError, match="a spread needs two values, got 1"):
        stats.standard_deviation([1.0])
    with pytest.raises(ValueError, match="mean of no values"):
        stats.mean([])


@pytest.mark.parametrize(
    ("q", "confidence", "over", "expected"),
    [(0.99, 0.99, 0, 459), (0.99, 0.99, 1, 662), (0.99, 0.95, 0, 299), (0.5, 0.95, 0, 5), (0.9, 0.9, 0, 22)],
)
def test_min_samples(q, confidence, over, expected):
    assert stats.min_samples(q, confidence, over) == expected


@given(st.floats(0.5, 0.999), st.floats(0.5, 0.999), st.integers(0, 20))
def test_min_samples_is_the_smallest(q, confidence, over):
    n = stats.min_samples(q, confidence, over)
    assert scipy_stats.binom.cdf(over, n, 1 - q) <= 1 - confidence + 1e-9
    assert n == over + 1 or scipy_stats.binom.cdf(over, n - 1, 1 - q) >= 1 - confidence - 1e-9


def test_min_samples_refuses_nonsense():
    with pytest.raises(ValueError, match="need 0 < q < 1"):
        stats.min_samples(1.0, 0.95)


def test_percentile_bounds_of_the_median_by_hand():
    # Ten values: P(2 <= X < 9) = 1 - 2 * 11 / 1024 for X ~ B(10, 1/2), and no narrower pair of ranks covers 95 %.
    assert stats.percentile_bounds(range(1, 11), 0.5) == (2, 9)
    assert stats.percentile_bounds(range(1, 6), 0.5) is None  # P = 1 - 2/32 = 93.8 %
    assert stats.percentile_bounds(range(1, 7), 0.5) == (1, 6)  # P = 1 - 2/64 = 96.9 %


def test_percentile_bounds_need_enough_samples():
    assert stats.percentile_bounds(range(367), 0.99) is None
    bounds = stats.percentile_bounds(range(1, 369), 0.99)
    assert bounds is not None
    assert bounds[1] == 368


@given(st.integers(5, 400), st.sampled_from([0.5, 0.9, 0.95]), st.sampled_from([0.9, 0.95, 0.99]))
def test_percentile_bounds_cover(n, q, confidence):
    bounds = stats.percentile_bounds(range(1, n + 1), q, confidence)
    if bounds is not None:
        lower, upper = bounds
        covered = scipy_stats.binom.cdf(upper - 1, n, q) - scipy_stats.binom.cdf(lower - 1, n, q)
        assert covered >= confidence - 1e-9
        assert lower <= stats.percentile(range(1, n + 1), q) <= upper


def test_percentile_ratio_bounds_are_the_worst_of_both_sides():
    low, high = stats.percentile_bounds(range(1, 101), 0.5, 0.975)
    ratio = stats.percentile_ratio_bounds([2 * x for x in range(1, 101)], range(1, 101), 0.5)
    assert ratio == pytest.approx((2 * low / high, 2 * high / low))
    assert stats.percentile_ratio_bounds(range(1, 9), range(1, 101), 0.99) is None


def test_clopper_pearson():
    assert stats.clopper_pearson(0, 640) == (0, pytest.approx(1 - 0.025 ** (1 / 640)))
    assert stats.clopper_pearson(10, 10) == (pytest.approx(0.025**0.1), 1)
    expected = scipy_stats.binomtest(3, 40).proportion_ci(0.95, "exact")
    assert stats.clopper_pearson(3, 40) == pytest.approx((expected.low, expected.high))
    with pytest.raises(ValueError, match="need 0 <= k <= n and n > 0, got k=2, n=1"):
        stats.clopper_pearson(2, 1)


def test_mean_interval_is_students():
    numbers = [0.01, 0.03, 0.02, 0.05]
    centre, lower, upper = stats.mean_interval(numbers)
    expected = scipy_stats.t.interval(0.95, 3, np.mean(numbers), scipy_stats.sem(numbers))
    assert (centre, lower, upper) == pytest.approx((0.0275, *expected))


def test_t_quantile_and_tail():
    assert stats.t_quantile(0.975, 3) == pytest.approx(3.18244630528371)
    assert stats.t_quantile(0.975, math.inf) == pytest.approx(1.959963984540054)
    assert stats.t_tail(3.18244630528371, 3) == pytest.approx(0.025)


def test_mde_has_the_power_that_it_promises():
    shift = stats.mde(1.0, 6, 0.05, power=0.8)
    power = scipy_stats.nct.sf(scipy_stats.t.ppf(0.95, 5), 5, shift * math.sqrt(6))
    assert shift == pytest.approx((2.015048 + 0.919544) / math.sqrt(6), rel=1e-5)
    assert 0.78 <= power <= 0.85
    assert stats.mde(1.0, 1, 0.05) == math.inf


def test_holm_by_hand():
    assert stats.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert stats.holm([]) == []
    assert stats.holm([0.6, 0.7]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_raw_and_bonferroni_and_keeps_order(p_values):
    adjusted = stats.holm(p_values)
    for raw, one in zip(p_values, adjusted, strict=True):
        assert raw <= one <= min(1.0, len(p_values) * raw) + 1e-12
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(order))


def test_looks_by_hand():
    assert stats.looks(3, 40) == (3, 5, 8, 12, 18, 27, 40)
    assert stats.looks(3, 6) == (3, 5, 6)
    assert stats.looks(4, 4) == (4,)
    with pytest.raises(ValueError, match="need 0 < first <= last, got 3, 2"):
        stats.looks(3, 2)


@given(st.integers(1, 30), st.integers(0, 60))
def test_looks_begin_with_the_first_end_with_the_last_and_grow_by_half(first, more):
    looks = stats.looks(first, first + more)
    assert (looks[0], looks[-1]) == (first, first + more)
    assert all(earlier < later <= 1.5 * earlier + 1 for earlier, later in pairwise(looks))


def test_walsh_averages_by_hand():
    assert stats.walsh_averages([4.0, 1.0, 2.0]) == [1.0, 1.5, 2.0, 2.5, 3.0, 4.0]


@pytest.mark.parametrize(
    ("n", "rate", "critical"),
    [(6, 0.025, 0), (8, 0.025, 3), (10, 0.025, 8), (12, 0.005, 7), (15, 0.005, 15), (20, 0.025, 52), (25, 0.005, 68)],
)
def test_signed_rank_depths_are_those_of_the_published_table(n, rate, critical):
    """Critical values of Wilcoxon's signed-rank test, one-sided, as in Hollander and Wolfe's table A.4."""
    assert stats.signed_rank_depth(n, rate) == critical + 1


def test_too_few_values_have_no_signed_rank_bound():
    assert stats.signed_rank_depth(5, 0.025) == 0
    assert stats.signed_rank_depth(5, 1 / 32) == 1


@given(st.lists(st.integers(-1000, 1000), min_size=6, max_size=16, unique_by=abs), st.floats(0.001, 0.2))
def test_signed_rank_bounds_are_the_exact_tests_turned_round(values, rate):
    """The lower bound lies above 0 exactly where SciPy's exact test rejects at that rate."""
    from scipy.stats import wilcoxon

    assume(0 not in values)
    depth = stats.signed_rank_depth(len(values), rate)
    p = wilcoxon(values, alternative="greater", method="exact").pvalue
    assume(abs(p - rate) > 1e-9)
    assert (depth > 0 and stats.walsh_averages(values)[depth - 1] > 0) == (p <= rate)


@pytest.mark.parametrize(("b", "c", "expected"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (1, 9, 2 * 11 / 1024)])
def test_mcnemar_by_hand(b, c, expected):
    assert stats.mcnemar(b, c) == pytest.approx(expected)
    assert stats.mcnemar(c, b) == pytest.approx(expected)


def test_quantiles_are_equally_spaced_and_hold_both_ends():
    assert stats.quantiles([3.0, 1.0, 2.0, 5.0, 4.0], 3) == (1.0, 3.0, 5.0)
    assert stats.quantiles([7.0], 4) == (7.0,) * 4


def test_one_quantile_has_no_two_ends():
    with pytest.raises(ValueError, match="need at least 2 quantiles, got 1"):
        stats.quantiles([1.0], 1)
