"""Candidate against reference by alternating short blocks, decided as soon as the evidence allows.

A *round* alternates blocks of both sides, in random order, for about half a second. It yields one number: the median
over its block pairs of log(candidate's block median / reference's). Rounds are what is replicated:

* Rounds in fresh processes (:func:`compare_processes`) replicate everything that differs between two runs of a program,
  and the bounds from their numbers alone are the whole uncertainty: the unit is the process pair.
* Rounds within the same two processes (:func:`compare`) are pseudo-replicates: they say how well *these* processes are
  known, not how much the next ones will differ. The interval is therefore widened by the spread between processes, see
  :class:`pytest_gpuperf.evidence.Between`, and the two error rates are halved between the two sources.

**Looks.** After ``min_pairs`` rounds, and whenever there are half as many again, the interval is looked at. The error
rates are spent over the planned looks (:func:`pytest_gpuperf.stats.looks`), so they hold whenever one stops.

**Outliers.** Within a block and within a round medians are taken, so a hiccup changes nothing. A whole round that lies
off is a fact about the machine and is kept: it moves the mean by d/n, but the standard error too, so that its
t value tends to 1 however large d is. One outlying round can cost the decision, never flip it.

**Cores.** A virtual core that shares a physical one with another tenant is up to 1.6 times slower for seconds, and no
counter of the guest shows it. Left to itself, the system keeps each side on a core of its own, and the ratio is that of
the cores. Where ``rule.cores`` names them, both blocks of a pair run on the same core, and the next pair on the next.

**Disturbance.** Every round is watched by the kernel's counters. A disturbed round is repeated, at most ``max_repeats``
times in a comparison; then the comparison ends undecided and names the cause. Rounds are set aside for what the
counters say, never for what they measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import cycle
from random import Random
from typing import NamedTuple, Protocol, TypeVar

from pytest_gpuperf import load, stats
from pytest_gpuperf.evidence import Between, Clock, Decision, Evidence, Rule
from pytest_gpuperf.records import Block, Comparison

__all__ = [
    "Between",
    "Compared",
    "OpenPair",
    "Round",
    "Rule",
    "Sampler",
    "alternate",
    "compare",
    "compare_processes",
    "run",
]

#: The figure that every comparison judges: the median of the calls' latencies.
MEDIAN = "latency_p50_ms"


class Sampler(Protocol):
    """One process that can be told to take a block of timed calls."""

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        """Time consecutive calls until ``seconds`` or ``max_calls`` are reached, at least one call; on that core."""


Now = Callable[[], float]
S = TypeVar("S", bound=Sampler)
OpenPair = Callable[[], AbstractContextManager[tuple[S, S]]]


class Compared(NamedTuple):
    """A comparison with the undisturbed blocks that it rests on."""

    comparison: Comparison
    candidate: tuple[Block, ...]
    reference: tuple[Block, ...]


class Round(NamedTuple):
    """What one round gave: log(candidate / reference) by figure, larger is worse, and what disturbed it."""

    log_ratios: Mapping[str, float]
    candidate: tuple[Block, ...]
    reference: tuple[Block, ...]
    disturbances: tuple[str, ...]


def compare(
    candidate: Sampler,
    reference: Sampler,
    *,
    rule: Rule,
    rng: Random,
    expected: float = 1.0,
    between: Between | None = None,
    read: load.Reader = load.read,
    clock: Callable[[], float] = time.monotonic,
) -> Compared:
    """Compare two running processes; the spread between processes widens the interval.

    Args:
        candidate: the side that is judged.
        reference: the side that it is judged against.
        rule: how.
        rng: decides which side of a block pair goes first.
        expected: the ratio candidate/reference that means no change.
        between: spread between process pairs, by default :data:`pytest_gpuperf.evidence.FLOOR_PCT`.
        read: reads the machine's counters.
        clock: seconds, for the time budget.
    """
    evidence = Evidence(rule, expected, between or Between(), "block pair")
    return _median(lambda: nullcontext((candidate, reference)), evidence, rng, read, clock)


def compare_processes(
    open_pair: OpenPair[Sampler],
    *,
    rule: Rule,
    rng: Random,
    expected: float = 1.0,
    read: load.Reader = load.read,
    clock: Callable[[], float] = time.monotonic,
) -> Compared:
    """Compare by fresh process pairs: ``open_pair`` starts and warms up both, and ends them when its context closes.

    The other arguments are those of :func:`compare`.
    """
    return _median(open_pair, Evidence(rule, expected, None, "process pair"), rng, read, clock)


def _median(
    open_pair: OpenPair[Sampler], evidence: Evidence, rng: Random, read: load.Reader, clock: Callable[[], float]
) -> Compared:
    rule = evidence.rule

    def measure(candidate: Sampler, reference: Sampler) -> Round:
        return alternate(candidate, reference, rule, rng, read)

    comparisons, rounds = run(open_pair, measure, {MEDIAN: evidence}, rule=rule, clock=clock)
    return Compared(
        comparisons[MEDIAN],
        tuple(block for each in rounds for block in each.candidate),
        tuple(block for each in rounds for block in each.reference),
    )


def run(
    open_pair: OpenPair[S],
    measure: Callable[[S, S], Round],
    evidences: Mapping[str, Evidence],
    *,
    rule: Rule,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[dict[str, Comparison], Sequence[Round]]:
    """Run rounds until the evidence on every figure, the repeats or the time come to an end.

    A figure's decision stands from the look on which it was made, whatever the others still need: each look spends its
    own part of the error rates.

    Args:
        open_pair: opens the two sides of a round.
        measure: takes a round of them; it returns a log-ratio for each figure of ``evidences``.
        evidences: by figure.
        rule: of rounds, repeats and time; margins and error rates are those of the evidences.
        clock: seconds, for the time budget.

    Returns:
        The comparisons by figure, and the rounds that they rest on.
    """
    started = clock()
    clean: list[Round] = []
    disturbed: list[Round] = []
    decisions: dict[str, Decision] = dict.fromkeys(evidences, "undecided")
    while len(disturbed) <= rule.max_repeats:
        with open_pair() as (candidate, reference):
            this = measure(candidate, reference)
        (disturbed if this.disturbances else clean).append(this)
        # Disturbed rounds have cost time; the clean ones get it once more, and no longer.
        patience = rule.overtime if len(clean) >= rule.min_pairs else max(2.0, rule.overtime)
        is_over = len(clean) + len(disturbed) >= rule.min_pairs and clock() - started >= rule.budget_s * patience
        for name in [name for name, decision in decisions.items() if decision == "undecided"]:
            decisions[name] = evidences[name].decide([each.log_ratios[name] for each in clean], is_last=is_over)
        if is_over or "undecided" not in decisions.values() or len(clean) == rule.max_pairs:
            break
    # A machine that is never quiet still gets its numbers shown, with every round in them and no decision on them.
    rounds = clean if len(clean) >= 2 else clean + disturbed  # noqa: PLR2004 - a spread needs two
    seconds, causes = clock() - started, _named(disturbed)
    return {
        name: evidence.summary([each.log_ratios[name] for each in rounds], decisions[name], seconds, causes)
        for name, evidence in evidences.items()
    }, rounds


def alternate(candidate: Sampler, reference: Sampler, rule: Rule, rng: Random, read: load.Reader) -> Round:
    """Alternate blocks until the round's time is up and return the median log-ratio of its block pairs."""
    sides: tuple[list[Block], list[Block]] = ([], [])
    samplers = (candidate, reference)
    cores = cycle(rule.cores or (None,))
    before = after = read()
    while not sides[0] or after.wall_ns - before.wall_ns < rule.round_s * 1e9:
        core = next(cores)
        for side in (0, 1) if rng.random() < 0.5 else (1, 0):  # noqa: PLR2004 - a fair coin
            block = samplers[side].measure(seconds=rule.block_s, max_calls=rule.max_calls, core=core)
            sides[side].append(block)
        after = read()
    measured_ns = sum(block.cpu_ns for block in sides[0] + sides[1])
    return Round(
        {MEDIAN: stats.median([_log_ratio(*pair, rule.clock) for pair in zip(*sides, strict=True)])},
        tuple(sides[0]),
        tuple(sides[1]),
        load.disturbances(before, after, measured_ns, rule.limits),
    )


def _log_ratio(candidate: Block, reference: Block, clock: Clock) -> float:
    calls = [block.device_ns if clock == "device" else block.host_ns for block in (candidate, reference)]
    # A clock that ticks in microseconds can read zero for a call; half a tick is closer than no logarithm.
    return math.log(max(0.5, stats.median(calls[0])) / max(0.5, stats.median(calls[1])))


def _named(disturbed: Sequence[Round]) -> tuple[str, ...]:
    """Say how many rounds were disturbed, with the causes of the last one."""
    if not disturbed:
        return ()
    rounds = "round" if len(disturbed) == 1 else "rounds"
    return (f"{len(disturbed)} disturbed {rounds}", *disturbed[-1].disturbances)
