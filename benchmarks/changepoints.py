"""False change points per 1000 points, and how soon a step is found.

python benchmarks/changepoints.py [--points 100000] [--series 1000] [--seed 2026]

Beside each share of steps found stands the oracle's: the same statistic with the true correlation, which nobody has,
and the largest threshold that lets through one false step per 1000 points. No finder can be much better than that.
"""

from __future__ import annotations

import argparse

import numpy as np

from pytest_gpuperf import changepoints, stats

NOISE, STEP, NEAR = 0.02, 0.05, 3
LENGTHS = (30, 50, 100, 200, 500, 2000)


def noise(rng: np.random.Generator, rows: int, n: int, rho: float) -> np.ndarray:
    """Return rows of stationary AR(1) noise with a standard deviation of 2 %, in logarithms."""
    values = rng.normal(size=(rows, n))
    for t in range(1, n):
        values[:, t] = rho * values[:, t - 1] + np.sqrt(1 - rho**2) * values[:, t]
    return NOISE * values


def false_points(rng: np.random.Generator, rows: int, n: int, rho: float) -> int:
    """Return the change points found in series without a step."""
    return sum(len(changepoints.find(np.exp(values))) for values in noise(rng, rows, n, rho))


def found(rng: np.random.Generator, rows: int, n: int, after: int, rho: float) -> tuple[int, int]:
    """Return in how many series a step is found near its place, by the finder and by the oracle.

    Args:
        rng: of the noise.
        rows: how many series.
        n: points before the step.
        after: points after it.
        rho: correlation of neighbouring points.
    """
    series = noise(rng, rows, n + after, rho)
    series[:, n:] += np.log1p(STEP)
    hits = sum(any(abs(point.index - n) <= NEAR for point in changepoints.find(np.exp(row))) for row in series)
    known = np.full(rows, rho)
    blank = changepoints._statistics(noise(rng, rows, n + after, rho), known).max(axis=1)  # noqa: SLF001
    statistics = changepoints._statistics(series, known)  # noqa: SLF001
    is_found = statistics.max(axis=1) > np.quantile(blank, 1 - min(0.5, (n + after) / 1000))
    is_near = abs(statistics.argmax(axis=1) + changepoints.SHORTEST - n) <= NEAR
    return hits, int((is_found & is_near).sum())


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    print("| points in a series | AR(1) | false change points per 1000 points | 95 % bounds |\n|---|---|---|---|")
    for n in LENGTHS:
        for rho in (0.0, 0.5, 0.7):
            rows = arguments.points // n
            k = false_points(rng, rows, n, rho)
            low, high = (1000 * bound for bound in stats.clopper_pearson(k, n * rows))
            print(f"| {n} | {rho} | {1000 * k / n / rows:.2f} | {low:.2f} … {high:.2f} |", flush=True)
    print("\n| points before | AR(1) | points after | step of 5 % in 2 % noise found | by the oracle |")
    print("|---|---|---|---|---|")
    for n in LENGTHS[:-1]:
        for rho in (0.0, 0.5):
            for after in (3, 5, 10, 20):
                k, oracle = found(rng, arguments.series, n, after, rho)
                low, high = stats.clopper_pearson(k, arguments.series)
                share = f"{k / arguments.series:.1%} ({low:.1%} … {high:.1%})"
                print(f"| {n} | {rho} | {after} | {share} | {oracle / arguments.series:.1%} |", flush=True)


if __name__ == "__main__":
    main()
