"""Do the intervals of p95 and p99 cover, and does a slower tail show while the median does not move?

    OPENBLAS_NUM_THREADS=1 python benchmarks/tails.py [--calls 50000] [--replays 2000]

Latencies of 50,000 real calls are recorded, and samples are drawn from them: their own percentiles are the truth that
the intervals are to cover. Then 2 % of the calls of one side are made 20 % longer.
"""

from __future__ import annotations

import argparse
import gc
from time import perf_counter_ns

import numpy as np

from pytest_gpuperf import stats
from pytest_gpuperf.engines.workload import matrix_product

MARGIN = 0.05
SLOWER, SHARE = 1.2, 0.02


def record(calls: int) -> np.ndarray:
    """Return the latencies of real calls, nanoseconds, one in flight, after a warm-up."""
    work = matrix_product()
    latencies = np.empty(calls)
    gc.disable()
    for number in range(-1000, calls):
        started = perf_counter_ns()
        work()
        latencies[max(0, number)] = perf_counter_ns() - started
    gc.enable()
    return latencies


def coverage(latencies: np.ndarray, q: float, n: int, replays: int, rng: np.random.Generator) -> float | None:
    """Return how often the 95 % interval of a sample holds the percentile of all recorded latencies."""
    truth = float(np.quantile(latencies, q, method="inverted_cdf"))
    covered = 0
    for _ in range(replays):
        bounds = stats.percentile_bounds(rng.choice(latencies, n).tolist(), q)
        if bounds is None:
            return None
        covered += bounds[0] <= truth <= bounds[1]
    return covered / replays


def gates(latencies: np.ndarray, n: int, replays: int, rng: np.random.Generator, *, slow: bool) -> dict[float, float]:
    """Return how often each percentile's ratio is shown to exceed the margin."""
    red = dict.fromkeys((0.5, 0.95, 0.99), 0)
    for _ in range(replays):
        candidate, reference = rng.choice(latencies, n), rng.choice(latencies, n)
        if slow:
            candidate = np.where(rng.random(n) < SHARE, SLOWER, 1.0) * candidate
        for q in red:
            bounds = stats.percentile_ratio_bounds(candidate.tolist(), reference.tolist(), q)
            red[q] += bounds is not None and bounds[0] > 1 + MARGIN
    return {q: count / replays for q, count in red.items()}


def main() -> None:
    """Record, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--replays", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    recorded = record(arguments.calls)
    steady = np.median(recorded) * rng.lognormal(0, 0.02, arguments.calls)
    for name, latencies in (("recorded", recorded), ("2 % noise, lognormal", steady)):
        p50, p95, p99 = np.quantile(latencies, [0.5, 0.95, 0.99]) / 1e6
        print(f"\n{name}: {arguments.calls} calls, p50 {p50:.4f} ms, p95 {p95:.4f} ms, p99 {p99:.4f} ms", flush=True)
        print("| percentile | samples | coverage of the 95 % interval |\n|---|---|---|")
        for q in (0.95, 0.99):
            for n in (500, 1000, 5000):
                share = coverage(latencies, q, n, arguments.replays, rng)
                print(f"| p{100 * q:g} | {n} | {'none' if share is None else f'{share:.1%}'} |", flush=True)
        print(f"| gate, margin {MARGIN:.0%} | calls a side | p50 red | p95 red | p99 red |\n|---|---|---|---|---|")
        for slow in (False, True):
            for n in (2000, 10_000):
                red = gates(latencies, n, max(100, arguments.replays // 4), rng, slow=slow)
                what = f"+{SLOWER - 1:.0%} on {SHARE:.0%} of calls" if slow else "no change"
                print(f"| {what} | {n} | " + " | ".join(f"{red[q]:.1%}" for q in red) + " |", flush=True)


if __name__ == "__main__":
    main()
