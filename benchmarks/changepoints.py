"""False change points per 1000 points, and how soon a step is found.

python benchmarks/changepoints.py [--series 1000] [--seed 2026]
"""

from __future__ import annotations

import argparse

import numpy as np

from pytest_gpuperf import changepoints, stats

NOISE, STEP = 0.02, 0.05


def noise(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    """Return stationary AR(1) noise with a standard deviation of 2 %, in logarithms."""
    values = rng.normal(size=n)
    for t in range(1, n):
        values[t] = rho * values[t - 1] + np.sqrt(1 - rho**2) * values[t]
    return NOISE * values


def false_points(rng: np.random.Generator, n: int, rho: float, series: int) -> int:
    """Return the change points found in series without a step."""
    return sum(len(changepoints.find(np.exp(noise(rng, n, rho)))) for _ in range(series))


def found(rng: np.random.Generator, n: int, after: int, rho: float, series: int) -> int:
    """Return in how many series a step is found, at most two points from its place, ``after`` points after it."""
    hits = 0
    for _ in range(series):
        values = noise(rng, n + after, rho)
        values[n:] += np.log1p(STEP)
        hits += any(abs(point.index - n) <= 2 for point in changepoints.find(np.exp(values)))
    return hits


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    print("| points in a series | AR(1) | false change points per 1000 points | 95 % bounds |\n|---|---|---|---|")
    for n in (50, 100, 200):
        for rho in (0.0, 0.5, 0.7):
            k, points = false_points(rng, n, rho, arguments.series), n * arguments.series
            low, high = (1000 * bound for bound in stats.clopper_pearson(k, points))
            print(f"| {n} | {rho} | {1000 * k / points:.2f} | {low:.2f} … {high:.2f} |", flush=True)
    print("\n| points before | AR(1) | points after | step of 5 % in 2 % noise found |\n|---|---|---|---|")
    for n in (50, 100, 200):
        for rho in (0.0, 0.5):
            for after in (3, 4, 5, 10):
                k = found(rng, n, after, rho, arguments.series)
                low, high = stats.clopper_pearson(k, arguments.series)
                print(f"| {n} | {rho} | {after} | {k / arguments.series:.1%} ({low:.1%} … {high:.1%}) |", flush=True)


if __name__ == "__main__":
    main()
