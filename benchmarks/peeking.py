"""Does the error rate hold when one looks after every pair? Replays pairs whose true ratio lies exactly at the margin.

    python benchmarks/peeking.py [--replays 10000] [--recorded benchmarks/data/error_rates.jsonl]

Each replay draws pairs one by one and looks after each, as a comparison does, until it decides or has had them all.
The pairs come from distributions that flatter and from some that do not, and, where a file of recorded trials is given,
from the recorded log-ratios of identical programs, centred. The foil is what a naive tool does with the same pairs: a
Mann-Whitney test on all block medians so far, after every pair, at the same alpha.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import mannwhitneyu

from pytest_gpuperf import stats
from pytest_gpuperf.evidence import Evidence, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[[np.random.Generator, int], np.ndarray]

BETWEEN, WITHIN, BLOCKS = 0.01, 0.01, 8
#: Replays that the foil is run on; it is slow, and its rate is far from any bound.
FOILS = 1000


def correlated(rng: np.random.Generator, n: int) -> np.ndarray:
    """Return AR(1) noise at 0.3: neighbouring pairs share a slow minute."""
    noise = rng.normal(size=n)
    for t in range(1, n):
        noise[t] = 0.3 * noise[t - 1] + math.sqrt(1 - 0.09) * noise[t]
    return noise


DRAWS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails (t, 3 df)": lambda rng, n: rng.standard_t(3, size=n),
    "one pair in ten off by 10 sd": lambda rng, n: (
        rng.normal(size=n) + 10 * rng.choice([-1, 1], n) * (rng.random(n) < 0.1)
    ),
    "skewed (lognormal)": lambda rng, n: rng.lognormal(0, 0.5, n) - math.exp(0.125),
    "correlated (0.3)": correlated,
}


def recorded(path: Path) -> np.ndarray:
    """Return the log-ratios of all rounds of identical programs, each workload centred and scaled."""
    by_workload: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        raw = json.loads(line)
        if raw["effect_pct"] == 0 and not raw["disturbances"]:
            by_workload.setdefault(raw["workload"], []).extend(raw["log_ratios"])
    return np.concatenate([(np.array(x) - np.mean(x)) / np.std(x) for x in by_workload.values()])


def replay(draw: Draw, rule: Rule, replays: int, seed: int) -> dict[str, float]:
    """Return the shares of wrong decisions, of the rule and of its foil."""
    rng = np.random.default_rng(seed)
    evidence = Evidence(rule, 1.0, None, "process pair")
    limit = math.log1p(rule.margin_pct / 100)
    counts = {"regressed": 0, "within": 0, "undecided": 0, "naive": 0}
    foils = min(replays, FOILS)
    for number in range(replays):
        pairs = limit + BETWEEN * draw(rng, rule.max_pairs)
        decision = "undecided"
        for n in range(rule.min_pairs, rule.max_pairs + 1):
            decision = evidence.decide(list(pairs[:n]))
            if decision != "undecided":
                break
        counts[decision] += 1
        counts["naive"] += number < foils and naive(pairs - limit, rule, rng)
    return {name: count / (foils if name == "naive" else replays) for name, count in counts.items()}


def naive(pairs: np.ndarray, rule: Rule, rng: np.random.Generator) -> bool:
    """Return whether repeated Mann-Whitney tests on the blocks of identical programs ever call the candidate slower."""
    candidate = pairs[:, None] + WITHIN * rng.normal(size=(len(pairs), BLOCKS))
    reference = WITHIN * rng.normal(size=(len(pairs), BLOCKS))
    return any(
        mannwhitneyu(candidate[:n].ravel(), reference[:n].ravel(), alternative="greater", method="asymptotic").pvalue
        < rule.alpha
        for n in range(rule.min_pairs, rule.max_pairs + 1)
    )


def main() -> None:
    """Replay every distribution and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replays", type=int, default=10_000)
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    rule, draws = Rule(), dict(DRAWS)
    if arguments.recorded:
        pool = recorded(arguments.recorded)
        draws["recorded pairs"] = lambda rng, n: rng.choice(pool, n)
    print(f"alpha {rule.alpha:.2%}, miss {rule.miss:.2%}, looks after pairs {rule.min_pairs} … {rule.max_pairs}")
    print("| pairs | called regressed | 95 % bounds | called within | undecided | naive Mann-Whitney |")
    print("|---|---|---|---|---|---|")
    for name, draw in draws.items():
        share = replay(draw, rule, arguments.replays, arguments.seed)
        low, high = stats.clopper_pearson(round(share["regressed"] * arguments.replays), arguments.replays)
        print(
            f"| {name} | {share['regressed']:.2%} | {low:.2%} … {high:.2%} | {share['within']:.2%} "
            f"| {share['undecided']:.1%} | {share['naive']:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
