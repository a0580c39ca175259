"""Does the error rate hold when one looks after every pair? Replays pairs whose true ratio lies exactly at the margin.

    python benchmarks/peeking.py --record docs/raw/peeking.json [--pairs 40]     # on a quiet machine
    python benchmarks/peeking.py [--replays 10000] [--recorded docs/raw/peeking.json]

Each replay draws pairs one by one and looks after each, as a comparison does, until it decides or has had them all.
The pairs come from distributions that flatter and from some that do not, and from recorded ones: fresh process pairs of
identical programs, drawn one by one and, so that what neighbours share stays in, in the order in which they were
measured. The foil is what a naive tool does with the same pairs: a Mann-Whitney test on all block
medians so far, after every pair, at the same alpha.

Nothing was stopped while the pairs were recorded: a stopped comparison keeps its last pairs because of what they said.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from error_rates import HERE, RULE, Recorder, _log_ratio
from scipy.stats import mannwhitneyu
from workloads import NAMES

from pytest_gpuperf import comparison, load, selfcheck, stats
from pytest_gpuperf.evidence import Evidence, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[[np.random.Generator, int], np.ndarray]

BETWEEN, WITHIN, BLOCKS = 0.01, 0.01, 8
#: Replays that the foil is run on; it is slow, and its rate is far from any bound.
FOILS = 1000
CACHE = Path("~/.cache/pytest-gpuperf/benchmarks").expanduser()


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


def record(path: Path, pairs: int) -> None:
    """Measure fresh process pairs of identical programs, one round each, and write their log-ratios."""
    os.environ.setdefault("GPUPERF_WORKLOADS", str(CACHE / "workloads"))
    rng, found = Random(2026), {}
    for name in NAMES:
        open_pair = selfcheck.workers(CACHE / "workers.log", CACHE, work=f"workloads.py:{name}", root=str(HERE))(0.0)
        found[name] = {"log_ratios": [], "disturbed": 0}
        for _ in range(pairs):
            with open_pair() as (one, two):
                sides = Recorder(one), Recorder(two)
                this = comparison.alternate(*sides, RULE, rng, load.read)
            found[name]["log_ratios"].append(round(_log_ratio(*sides), 6))
            found[name]["disturbed"] += bool(this.disturbances)
        print(f"{name}: sd {np.std(found[name]['log_ratios']):.2%}, {found[name]['disturbed']} disturbed", flush=True)
    path.write_text(json.dumps({"round_s": RULE.round_s, "workloads": found}, indent=1) + "\n", encoding="utf-8")


def recorded(path: Path) -> dict[str, Draw]:
    """Return draws of recorded pairs, each workload scaled: one by one, and in the order of their time.

    Which of two identical programs is the candidate is a coin toss, and is tossed anew for every pair: that is the null
    hypothesis itself. To centre a sample on its own mean would be milder than truth, which knows no such mean.
    """
    workloads = json.loads(path.read_text(encoding="utf-8"))["workloads"].values()
    scaled = [x / math.sqrt(np.mean(x**2)) for x in (np.array(each["log_ratios"]) for each in workloads)]

    def alone(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.choice(scaled[rng.integers(len(scaled))], n) * rng.choice([-1, 1], n)

    def in_order(rng: np.random.Generator, n: int) -> np.ndarray:
        series = scaled[rng.integers(len(scaled))]
        return np.take(series, np.arange(n) + rng.integers(len(series)), mode="wrap") * rng.choice([-1, 1], n)

    return {f"recorded ({len(scaled)} workloads), one by one": alone, "recorded, in their order": in_order}


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
    parser.add_argument("--recorded", type=Path, metavar="FILE")
    parser.add_argument("--record", type=Path, metavar="FILE")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record, arguments.pairs)
        return
    rule, draws = Rule(), DRAWS | (recorded(arguments.recorded) if arguments.recorded else {})
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
