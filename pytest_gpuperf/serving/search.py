"""The highest rate of requests that keeps a percentile under its budget, with a certificate at both ends.

A rate is held to be good or bad only when the number of late requests shows it at :data:`CONFIDENCE`, the same bound as
MLPerf's early stopping: 662 requests with one late one, or 459 without, show that 99 % are in time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pytest_gpuperf import stats
from pytest_gpuperf.serving.plan import Trial

CONFIDENCE = 0.99
PERCENTILE = 0.99
#: Good and bad rates this close together end the search.
RESOLUTION = 1.06
#: Rates tried between the two ends before the search gives up on its resolution.
STEPS = 9

Answer = Literal["good", "bad", "open"]
Measure = Callable[[float], Trial]


@dataclass(frozen=True, slots=True, kw_only=True)
class Highest:
    """What a search found.

    Attributes:
        good: the highest rate that was shown to be good, 0 if none was.
        bad: the lowest rate above it that was shown to be bad, infinity if none was.
        trials: rate and answer of each run, in order.
        at_good: the run that showed ``good``.
    """

    good: float
    bad: float
    trials: tuple[tuple[float, Answer], ...]
    at_good: Trial | None = None


def queries() -> int:
    """Return the fewest requests of a run that can show a rate to be good in spite of a few late ones."""
    return stats.min_samples(PERCENTILE, CONFIDENCE, over=2)


def answer(trial: Trial, limit_ms: float) -> Answer:
    """Say whether a run shows that 99 % of the requests are in time, or that fewer are."""
    late, n = trial.over(limit_ms), len(trial.latencies_ms)
    if trial.problems or n == 0:
        return "open"
    # Clopper and Pearson's upper bound lies below 1 % exactly from MLPerf's number of requests on.
    if stats.clopper_pearson(late, n, confidence=2 * CONFIDENCE - 1)[1] <= 1 - PERCENTILE:
        return "good"
    # What was late only because it was asked late is no fault of the server's.
    late = trial.over(limit_ms, is_punctual=True)
    return "bad" if stats.clopper_pearson(late, n, confidence=2 * CONFIDENCE - 1)[0] > 1 - PERCENTILE else "open"


def highest(
    measure: Measure, *, limit_ms: float, ceiling: float, first: float | None = None, until: float = math.inf
) -> Highest:
    """Search by halving the ratio between the best good and the worst bad rate.

    Args:
        measure: runs traffic at a rate.
        limit_ms: the budget of the 99th percentile.
        ceiling: a rate that cannot be good, such as the throughput at saturation.
        first: where to begin, tried whatever the ceiling is; default: 70 % of the ceiling.
        until: reading of ``time.monotonic`` after which no other rate is tried.
    """
    good, bad, at_good = 0.0, math.inf, None
    trials: list[tuple[float, Answer]] = []
    rate = first or 0.7 * ceiling
    for _ in range(STEPS):
        trial = measure(rate)
        said = answer(trial, limit_ms)
        trials.append((rate, said))
        if said == "good" and rate > good:
            good, at_good = rate, trial
        elif said != "good":
            # What could not be shown either way is treated as bad by the search, but not called so.
            bad = min(bad, rate)
        if bad / max(good, 1e-9) <= RESOLUTION or good >= ceiling or time.monotonic() > until:
            break
        rate = _next(good, bad, ceiling)
    shown = [rate for rate, said in trials if said == "bad" and rate > good]
    return Highest(good=good, bad=min(shown, default=math.inf), trials=tuple(trials), at_good=at_good)


def _next(good: float, bad: float, ceiling: float) -> float:
    if math.isinf(bad):
        return min(ceiling, good * 1.4)
    return math.sqrt(good * bad) if good else bad / 2
