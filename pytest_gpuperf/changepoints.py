"""Where a series of results stepped to another level; for trend reports, never for a gate.

Results of successive runs are correlated: a machine that is slow today was likely slow yesterday. The series is taken
as a level plus AR(1) noise, and a step is tested by generalised least squares at every split. The largest of many
statistics is large by chance, so it is compared with the largest of the same number of statistics of simulated series
without a step, of the same length and correlation and put through the same procedure, estimation of the correlation
included. The chance that is allowed is a rate per point, not per series: a longer history may not cry wolf more often
per year than a short one.

Few points tell little about their correlation, and one that is taken too small makes noise look like steps. So the
simulated series are a little more correlated than the estimate, by ``_CAUTION / n``; short histories pay for it with
steps that are found late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

#: Points that a level needs on either side of a step; fewer are a spike.
SHORTEST = 3
#: Points below which no correlation can be told.
FEWEST = 8
_STEEPEST = 0.9
#: Smallest whole number that kept AR(1) at 0.5 below one false step per 1000 points at 12 to 200 points.
_CAUTION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    """A step: ``index`` is the first point of the new level; the levels are medians of their segments."""

    index: int
    before: float
    after: float

    @property
    def change_pct(self) -> float:
        """Return the step in percent of the level before."""
        return 100 * (self.after / self.before - 1)


def find(values: Sequence[float], rate: float = 9e-4) -> list[ChangePoint]:
    """Return the steps in a series of positive results, oldest first.

    Args:
        values: one number per run, in order.
        rate: false change points per point that are allowed.
    """
    logs = np.log(np.asarray(values, dtype=float))
    splits = sorted(_split(logs, 0, rate))
    edges = [0, *splits, len(logs)]
    levels = [float(np.exp(np.median(logs[a:b]))) for a, b in pairwise(edges) if a < b]
    return [
        ChangePoint(index=index, before=before, after=after)
        for index, (before, after) in zip(splits, pairwise(levels), strict=True)
    ]


def _split(logs: Floats, start: int, rate: float) -> list[int]:
    """Split at the largest step if it is significant, then look at both halves; return indices into the whole."""
    n = len(logs)
    if n < FEWEST:
        return []
    statistic, split, rho = (each[0] for each in _largest_step(logs[None]))
    cautious = min(_STEEPEST, float(np.ceil((rho + _CAUTION / n) * 20) / 20))
    # Both halves of a false step are looked at again: a * (1 + rate * n) = rate * n false steps in all.
    if statistic <= _threshold(n, cautious, round(rate * n / (1 + rate * n), 4)):
        return []
    middle = int(split)
    return [
        *_split(logs[:middle], start, rate),
        start + middle,
        *_split(logs[middle:], start + middle, rate),
    ]


@lru_cache(maxsize=256)
def _threshold(n: int, rho: float, alpha: float) -> float:
    """Return what the largest statistic of a series without a step exceeds with probability ``alpha``."""
    rng = np.random.default_rng((n, round(rho * 100)))
    noise = rng.normal(size=(min(2000, max(500, 10**6 // n)), n))
    noise[:, 0] /= np.sqrt(1 - rho**2)
    for t in range(1, n):
        noise[:, t] += rho * noise[:, t - 1]
    return float(np.quantile(_largest_step(noise)[0], 1 - alpha))


def _largest_step(series: Floats) -> tuple[Floats, NDArray[np.intp], Floats]:
    """Return per row: the largest statistic of all splits, its split, and the correlation of the noise.

    The correlation is estimated around the best step, so that a step does not pass for correlation, and corrected for
    its small-sample bias to first order, ``(1 + 3 rho) / n`` (Kendall, 1954).
    """
    series = _without_spikes(series)
    n = series.shape[1]
    first = _statistics(series, np.zeros(len(series))).argmax(axis=1) + SHORTEST
    after = np.arange(n) >= first[:, None]
    low = np.where(after, 0, series).sum(axis=1) / first
    high = np.where(after, series, 0).sum(axis=1) / (n - first)
    noise = series - np.where(after, high[:, None], low[:, None])
    square = (noise**2).sum(axis=1)
    rho = (noise[:, 1:] * noise[:, :-1]).sum(axis=1) / np.where(square > 0, square, 1)
    rho = np.clip(rho + (1 + 3 * rho) / n, 0, _STEEPEST)
    statistics = _statistics(series, rho)
    return statistics.max(axis=1), statistics.argmax(axis=1) + SHORTEST, rho


def _statistics(series: Floats, rho: Floats) -> Floats:
    """Return |t| of a step at every allowed split by generalised least squares, ``(rows, splits)``.

    A whitened step at split ``k`` is 0 before ``k``, 1 at ``k`` and ``1 - rho`` after it, so that its products with the
    series are sums of tails and all splits together cost one pass.
    """
    n = series.shape[1]
    y, ones = _whiten(series, rho), _whiten(np.ones((1, n)), rho)
    level = (ones**2).sum(axis=1, keepdims=True)
    y = y - ones * (y * ones).sum(axis=1, keepdims=True) / level
    splits = np.arange(SHORTEST, n - SHORTEST + 1)
    later = 1 - rho[:, None]
    tails = np.cumsum(y[:, ::-1], axis=1)[:, ::-1]
    product = y[:, splits] + later * tails[:, splits + 1]
    square = 1 + later**2 * (n - 1 - splits)
    square = square - (later + later**2 * (n - 1 - splits)) ** 2 / level
    total = (y**2).sum(axis=1, keepdims=True)
    left = np.maximum(total - product**2 / square, 1e-12 * total + 1e-300)
    return np.asarray(np.abs(product) / np.sqrt(square * left / (n - 2)))


def _whiten(series: Floats, rho: Floats) -> Floats:
    """Turn AR(1) noise into independent noise (Prais and Winsten, 1954), row by row."""
    rho = rho[:, None]
    white = np.empty((len(rho), series.shape[1]))
    white[:, :1] = np.sqrt(1 - rho**2) * series[:, :1]
    white[:, 1:] = series[:, 1:] - rho * series[:, :-1]
    return white


def _without_spikes(series: Floats) -> Floats:
    """Clip what differs from the running median of five by more than four robust standard deviations."""
    padded = np.pad(series, ((0, 0), (2, 2)), mode="edge")
    running = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5, axis=1), axis=2)
    away = series - running
    limit = 4 * 1.4826 * np.median(np.abs(away), axis=1, keepdims=True) + 1e-12
    return running + np.clip(away, -limit, limit)
