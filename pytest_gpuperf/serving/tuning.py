"""Which batching serves best: the same search behind one server after another, and the choice between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_gpuperf import stats
from pytest_gpuperf.serving.plan import Batching
from pytest_gpuperf.serving.search import PERCENTILE, Highest

#: Rates this close together are equal, as the search cannot tell them apart.
EQUAL = 1.06


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One rate of one server: where its 99th percentile was."""

    rate_qps: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one batching came to.

    Attributes:
        batching: what the server was told.
        highest: the search's result.
        points: of its runs, by rate.
        throughput_sps: at saturation.
        mean_batch: at saturation; 0 if the server does not tell.
    """

    batching: Batching
    highest: Highest
    points: tuple[Point, ...]
    throughput_sps: float
    mean_batch: float = 0.0


def grid(most: Batching, delays_us: Sequence[int], preferred: Sequence[tuple[int, ...]]) -> list[Batching]:
    """Return what to try: no batching, then every delay with every set of preferred sizes.

    Args:
        most: largest batch and number of instances.
        delays_us: how long a request may wait.
        preferred: sets of sizes; those above the largest batch are left out.
    """
    sets = dict.fromkeys(tuple(size for size in sizes if size <= most.max_batch) for sizes in preferred)
    tried = [
        replace(most, is_dynamic=True, max_queue_delay_us=delay, preferred=sizes)
        for sizes in sets
        for delay in delays_us
    ]
    return [replace(most, is_dynamic=False), *tried]


def points(highest: Highest, latencies_ms: Sequence[tuple[float, Sequence[float]]]) -> tuple[Point, ...]:
    """Return the 99th percentile at each rate that was tried, by rate; ``highest`` decides which rates count."""
    rates = {rate for rate, _ in highest.trials}
    found = [
        Point(rate_qps=rate, p99_ms=stats.percentile(values, PERCENTILE))
        for rate, values in latencies_ms
        if rate in rates
    ]
    return tuple(sorted(found, key=lambda point: point.rate_qps))


def best(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return the batching with the highest rate; of equal ones the simplest that makes a request wait least.

    ``None`` when no batching keeps the budget at any rate.
    """
    top = max((outcome.highest.good for outcome in outcomes), default=0.0)
    if top <= 0:
        return None
    equal = [outcome for outcome in outcomes if outcome.highest.good * EQUAL >= top]
    return min(equal, key=_effort)


def _effort(outcome: Outcome) -> tuple[bool, int, int, float]:
    batching = outcome.batching
    return batching.is_dynamic, len(batching.preferred), batching.max_queue_delay_us, -outcome.highest.good
