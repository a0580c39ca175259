"""Blocks and volleys of one process, and the metrics that they come to.

Latency and throughput are separate runs: one call in flight says how long a caller waits, a closed loop with ``k`` in
flight says how much the engine can do. Neither is computed from the other.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pytest_gpuperf import stats
from pytest_gpuperf.errors import EngineError
from pytest_gpuperf.records import Block, Metric, Volley

Clock = Literal["host", "device"]

PERCENTILES = {"latency_p50_ms": 0.50, "latency_p90_ms": 0.90, "latency_p99_ms": 0.99}
CONFIDENCE = 0.95
#: Points of a latency distribution in the reports.
QUANTILES = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the measuring seconds of a case are spent.

    Attributes:
        block_s: length of a latency block.
        max_calls: calls after which a latency block ends early.
        in_flight: numbers of outstanding calls that the throughput sweep tries, in this order.
        flat_pct: the sweep ends when a step gains less than this over the best so far.
        sweep_share: part of the throughput seconds that the sweep may take; the rest confirms its winner.
        confirmations: volleys of the winner that the throughput is computed from.
    """

    block_s: float = 0.25
    max_calls: int = 20_000
    in_flight: tuple[int, ...] = (1, 2, 4, 8, 16)
    flat_pct: float = 3.0
    sweep_share: float = 0.5
    confirmations: int = 4


class Sampler(Protocol):
    """What a measuring process offers, see :class:`pytest_gpuperf.worker.client.Worker`."""

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        """Time calls, one in flight."""

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        """Keep ``in_flight`` calls outstanding."""


def sample(
    sampler: Sampler, *, seconds: float, plan: Plan | None = None, clock: Callable[[], float] = time.monotonic
) -> tuple[Block, ...]:
    """Take latency blocks until ``seconds`` have passed, at least one."""
    plan = plan or Plan()
    until = clock() + seconds
    blocks = [sampler.measure(seconds=min(plan.block_s, seconds), max_calls=plan.max_calls)]
    while clock() < until:
        blocks.append(sampler.measure(seconds=min(plan.block_s, seconds), max_calls=plan.max_calls))
    return tuple(blocks)


def saturate(
    sampler: Sampler, *, seconds: float, plan: Plan | None = None, clock: Callable[[], float] = time.monotonic
) -> tuple[Volley, ...]:
    """Raise the number of calls in flight until throughput is flat, then measure the best number again.

    The winner of a sweep won in part by luck; what :func:`throughput` reports comes from the volleys after it. Slow
    engines may use up ``seconds`` before; the first volley is always made.
    """
    plan = plan or Plan()
    until = clock() + seconds
    each = seconds * plan.sweep_share / len(plan.in_flight)
    best = sampler.volley(in_flight=plan.in_flight[0], seconds=each)
    volleys = [best]
    for in_flight in plan.in_flight[1:]:
        if clock() >= until:
            return tuple(volleys)
        volleys.append(sampler.volley(in_flight=in_flight, seconds=each))
        is_flat = rate(volleys[-1]) < rate(best) * (1 + plan.flat_pct / 100)
        best = max(best, volleys[-1], key=rate)
        if is_flat:
            break
    for left in range(plan.confirmations, 0, -1):
        remaining = until - clock()
        if remaining <= 0:
            break
        volleys.append(sampler.volley(in_flight=best.in_flight, seconds=remaining / left))
    return tuple(volleys)


def latency(blocks: Sequence[Block], clock: Clock) -> dict[str, Metric]:
    """Return the latency percentiles that the number of calls supports, in milliseconds.

    Bounds are order statistics (distribution-free) of all calls together, taken as independent; a percentile that has
    no 95 % bounds at this number of calls is left out.

    Raises:
        EngineError: the device's clock is asked for and a block lacks it.
    """
    values: list[float] = []
    for block in blocks:
        stamps = block.host_ns if clock == "host" else block.device_ns
        if len(stamps) != len(block.host_ns):
            raise EngineError(
                "a block has no device times", got=f"{len(stamps)} of {len(block.host_ns)} calls", expected="one a call"
            )
        values.extend(ns / 1e6 for ns in stamps)
    metrics = {}
    for name, q in PERCENTILES.items():
        bounds = stats.percentile_bounds(values, q, CONFIDENCE)
        if bounds is not None:
            lower, upper = bounds
            value = stats.percentile(values, q)
            metrics[name] = Metric(value=value, unit="ms", lower=lower, upper=upper, n=len(values), higher="worse")
    return metrics


def distribution(latencies_ms: Sequence[float]) -> tuple[float, ...]:
    """Return the latencies' quantiles at equally spaced ranks, to draw."""
    return tuple(float(f"{value:.5g}") for value in stats.quantiles(latencies_ms, QUANTILES))


def throughput(volleys: Sequence[Volley]) -> Metric:
    """Return samples per second at the number in flight that :func:`saturate` confirmed, else at the best one.

    The volley that won the sweep does not count where confirmations exist. Bounds by Student's t over those, absent
    with fewer than two.
    """
    best = winner(volleys)
    rates = [rate(volley) for volley in volleys if volley.in_flight == best]
    confirmed = rates[1:] or rates
    value, lower, upper = stats.mean(confirmed), None, None
    if len(confirmed) > 1:
        _, lower, upper = stats.mean_interval(confirmed, CONFIDENCE)
    return Metric(value=value, unit="sps", lower=lower, upper=upper, n=len(confirmed), higher="better")


def winner(volleys: Sequence[Volley]) -> int:
    """Return the number in flight that was confirmed, else the best one."""
    times = Counter(volley.in_flight for volley in volleys)
    return max(volleys, key=lambda volley: (times[volley.in_flight], rate(volley))).in_flight


def rate(volley: Volley) -> float:
    """Return samples per second of one volley, the batch multiplied."""
    return volley.calls * volley.batch / volley.seconds
