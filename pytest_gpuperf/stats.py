"""Statistics on plain sequences of floats; SciPy's special functions are imported where they are needed.

Percentiles and their distribution-free bounds, intervals for means and centres of log-ratios, when to look
at them, and corrections for many tests. Nothing here knows what the numbers mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

#: Scale that makes the median absolute deviation estimate a normal standard deviation: 1 / Φ⁻¹(3/4).
MAD_TO_SD = 1.482602218505602


def percentile(values: Sequence[float], q: float) -> float:
    """Return the ``q`` quantile (0 … 1) by linear interpolation between order statistics.

    This is type 7 of Hyndman and Fan (1996), the default of NumPy: rank ``q·(n-1)`` counted from 0.

    Raises:
        ValueError: no values, or ``q`` outside 0 … 1.
    """
    if not values:
        raise ValueError("percentile of no values")
    if not 0 <= q <= 1:
        raise ValueError(f"quantile must lie in 0 … 1, got {q!r}")
    ordered = sorted(values)
    rank = q * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def quantiles(values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return the values at ``count`` equally spaced ranks, the smallest first and the largest last.

    Raises:
        ValueError: no values, or fewer than two ranks.
    """
    if count < 2:  # noqa: PLR2004 - both ends
        raise ValueError(f"need at least 2 quantiles, got {count}")
    ordered = sorted(values)
    return tuple(percentile(ordered, rank / (count - 1)) for rank in range(count))


def median(values: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two middle values."""
    return percentile(values, 0.5)


def mad(values: Sequence[float]) -> float:
    """Return the median absolute deviation from the median, unscaled (see :data:`MAD_TO_SD`)."""
    centre = median(values)
    return median([abs(value - centre) for value in values])


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean, exactly rounded."""
    if not values:
        raise ValueError("mean of no values")
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation (divisor ``n-1``).

    Raises:
        ValueError: fewer than two values.
    """
    if len(values) < 2:  # noqa: PLR2004 - a spread needs two
        raise ValueError(f"a spread needs two values, got {len(values)}")
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def relative_spread_pct(values: Sequence[float]) -> float:
    """Return the sample standard deviation in percent of the mean."""
    return 100 * standard_deviation(values) / abs(mean(values))


def min_samples(q: float, confidence: float, over: int = 0) -> int:
    """Return how many samples show that at most ``1-q`` of all calls exceed a value that ``over`` samples exceeded.

    With ``over = 0`` the largest of ``n`` samples bounds the ``q`` quantile from above with the given confidence; the
    99th percentile at 99 % needs 459 samples, and 662 when one sample may lie beyond the bound.
    """
    if not 0 < q < 1 or not 0 < confidence < 1 or over < 0:
        raise ValueError(f"need 0 < q < 1, 0 < confidence < 1, over >= 0; got {q!r}, {confidence!r}, {over!r}")
    low, high = over, over + 1
    while _binomial_cdf(over, high, 1 - q) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _binomial_cdf(over, middle, 1 - q) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def percentile_bounds(values: Sequence[float], q: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return distribution-free bounds of the ``q`` quantile: two order statistics, or ``None`` when ``n`` has none.

    The ``k``-th smallest of ``n`` independent samples lies at or below the quantile with the binomial probability of at
    least ``k`` successes, whatever the distribution. The bounds start from equal tails and are drawn in, a rank at a
    time, as long as the coverage stays at or above ``confidence``, so that they cover little more than they promise.
    Equal tails must exist to begin with: bounds of the 99th percentile at 95 % need 368 samples.
    """
    import numpy as np
    from scipy.special import bdtr

    n = len(values)
    tail = (1 - confidence) / 2
    below = np.append(0.0, bdtr(np.arange(n), n, q))  # below[k] = P(fewer than k samples lie at or below)
    lower = int(np.searchsorted(below, tail, side="right")) - 1
    upper = int(np.searchsorted(below, 1 - tail, side="left"))
    if lower < 1 or upper > n:
        return None
    while below[upper] - below[lower + 1] >= confidence:
        lower += 1
    while below[upper - 1] - below[lower] >= confidence:
        upper -= 1
    ordered = sorted(values)
    return ordered[lower - 1], ordered[upper - 1]


def percentile_ratio_bounds(
    candidate: Sequence[float], reference: Sequence[float], q: float, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return distribution-free bounds of the ratio of two ``q`` quantiles of positive values, or ``None``.

    Each side gets bounds at half the error rate, so that both hold at ``confidence`` (Bonferroni).
    """
    each = 1 - (1 - confidence) / 2
    above, below = percentile_bounds(candidate, q, each), percentile_bounds(reference, q, each)
    if above is None or below is None:
        return None
    return above[0] / below[1], above[1] / below[0]


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return exact two-sided bounds (Clopper and Pearson, 1934) of a proportion: ``k`` successes in ``n`` trials."""
    from scipy.special import betaincinv

    if not 0 <= k <= n or n == 0:
        raise ValueError(f"need 0 <= k <= n and n > 0, got k={k}, n={n}")
    tail = (1 - confidence) / 2
    lower = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, tail))
    upper = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - tail))
    return lower, upper


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """Return the ``p`` quantile of Student's t; ``df = inf`` is the normal distribution."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(p) if math.isinf(df) else stdtrit(df, p))


def t_tail(t: float, df: float) -> float:
    """Return the probability that Student's t exceeds ``t``."""
    from scipy.special import stdtr

    return float(stdtr(df, -t))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return mean, lower and upper bound of independent, roughly normal values by Student's t.

    Meant for log-ratios, whose exponential is the geometric mean of the ratios.
    """
    n = len(values)
    centre = mean(values)
    half = t_quantile(1 - (1 - confidence) / 2, n - 1) * standard_deviation(values) / math.sqrt(n)
    return centre, centre - half, centre + half


def mde(sd: float, n: int, alpha: float, power: float = 0.8) -> float:
    """Return the smallest mean shift that ``n`` values show with ``power`` in a one-sided t test at ``alpha``.

    Uses the usual sum of the two t quantiles, which approximates the noncentral t from above.
    """
    if n < 2:  # noqa: PLR2004 - a spread needs two
        return math.inf
    return (t_quantile(1 - alpha, n - 1) + t_quantile(power, n - 1)) * sd / math.sqrt(n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values in the order given; they control the family-wise error rate."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def looks(first: int, last: int) -> tuple[int, ...]:
    """Return after how many values to look at what they show: whenever there are half as many again, and at the last.

    A look at ``n`` values repeats most of what the one before has seen, so looks that are closer cost more error rate
    than they save values. By Bonferroni each of ``k`` looks may spend a ``k``-th of an error rate; the total then stays
    at or below it whatever the dependence between looks, and if looks are left out or come early.
    """
    if not 0 < first <= last:
        raise ValueError(f"need 0 < first <= last, got {first}, {last}")
    made = [first]
    while made[-1] < last:
        made.append(min(last, made[-1] + (made[-1] + 1) // 2))
    return tuple(made)


def walsh_averages(values: Sequence[float]) -> list[float]:
    """Return the means of all pairs of values, each with itself too, in ascending order: ``n·(n+1)/2`` of them.

    Their median is the centre of Hodges and Lehmann (1963).
    """
    return sorted((one + other) / 2 for at, one in enumerate(values) for other in values[at:])


@lru_cache(maxsize=4096)
def signed_rank_depth(n: int, rate: float) -> int:
    """Return which Walsh average, counted from either end, bounds the centre of ``n`` values with that error rate.

    The bounds are those of Wilcoxon's signed-rank test (1945; Hollander and Wolfe, Nonparametric Statistical Methods,
    section 3.3): exact for independent values from any distributions that are symmetric about one centre. 0 where no
    average is far enough out: all ``n`` values lie on one side of the centre by chance with ``2 ** -n``.
    """
    ways = [1]  # ways[w]: sets of the ranks so far whose sum is w
    for rank in range(1, n + 1):
        ways = [
            (ways[w] if w < len(ways) else 0) + (ways[w - rank] if w >= rank else 0) for w in range(len(ways) + rank)
        ]
    depth = total = 0
    while depth < len(ways) and total + ways[depth] <= rate * 2**n:
        total += ways[depth]
        depth += 1
    return depth


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test from the two discordant counts."""
    from scipy.special import bdtr

    n = only_first + only_second
    return 1.0 if n == 0 else min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5)))


def _binomial_cdf(k: int, n: int, p: float) -> float:
    """Return P(X ≤ k) in logarithms, so that large ``n`` neither overflows nor underflows."""
    return math.fsum(
        math.exp(
            math.lgamma(n + 1)
            - math.lgamma(i + 1)
            - math.lgamma(n - i + 1)
            + i * math.log(p)
            + (n - i) * math.log1p(-p)
        )
        for i in range(min(k, n) + 1)
    )
