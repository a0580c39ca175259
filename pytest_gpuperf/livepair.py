"""A case beside its live reference: alternating fresh process pairs, and each figure with a margin of its own.

A pair is two fresh processes, opened and warmed up. Its round gives one number per figure: short blocks alternate for
the latencies, volleys alternate for the throughput. Pairs are what is replicated, see :mod:`pytest_gpuperf.comparison`;
a pair that was disturbed, or never became steady, is repeated up to a cap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from pytest_gpuperf import comparison, load, measurement, stats
from pytest_gpuperf.comparison import MEDIAN, Round
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.evidence import SHARED_BLOCK_S, Clock, Evidence, Rule
from pytest_gpuperf.opponent import Reference
from pytest_gpuperf.records import (
    BaselineEntry,
    BatchSpec,
    Block,
    Comparison,
    EngineInfo,
    EngineSpec,
    Live,
    Steady,
    Tolerance,
    Volley,
)
from pytest_gpuperf.report.progress import Watched
from pytest_gpuperf.rig import COMPARISON_SHARE, THROUGHPUT_SHARE, Rig
from pytest_gpuperf.units import change
from pytest_gpuperf.worker.client import Worker
from pytest_gpuperf.worker.pool import Launch

P99, THROUGHPUT = "latency_p99_ms", "throughput_sps"
#: Slowdown that is still none, in percent. A server profile names others as ``live_latency_p50_ms`` and so on.
MARGINS_PCT = {MEDIAN: 3.0, P99: 10.0, THROUGHPUT: 5.0}
#: Fewest calls of a side within a round that a 99th percentile is taken from: it has 95 % bounds then.
TAIL_CALLS = 368
#: Opening a pair takes seconds, so its round may take one.
ROUND_S, MAX_PAIRS, MAX_REPEATS = 1.0, 12, 4
#: Volleys of each side within a round, and how long each lasts.
VOLLEYS, VOLLEY_S = 2, 0.25
#: Share of a case's seconds in which the reference's calls are timed, to know how many a round has.
PROBE_SHARE = 0.01


class Side(Protocol):
    """One process of a pair, warmed up."""

    @property
    def steady(self) -> Steady:
        """How its warm-up ended."""

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        """Time calls, one in flight."""

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        """Keep ``in_flight`` calls outstanding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """How the two sides of a case are compared.

    Attributes:
        rule: of rounds, repeats and time.
        margins_pct: by figure; a figure that is not here is not judged.
        in_flight: outstanding calls at which throughputs are compared.
        cases: of the session, which share its error rate.
    """

    rule: Rule
    margins_pct: Mapping[str, float]
    in_flight: int = 1
    cases: int = 1

    def evidences(self) -> dict[str, Evidence]:
        """Return what decides, by figure: Holm's first step over the suite's cases and a case's figures."""
        shared = self.rule.within_suite(self.cases).shared_by(len(self.margins_pct))
        return {
            name: Evidence(replace(shared, margin_pct=margin), 1.0, None, "process pair")
            for name, margin in self.margins_pct.items()
        }

    def run(
        self,
        open_pair: comparison.OpenPair[Side],
        *,
        rng: Random,
        read: load.Reader = load.read,
        clock: comparison.Now = time.monotonic,
    ) -> dict[str, Comparison]:
        """Compare by fresh process pairs until every figure is decided, or pairs, repeats or time are used up."""

        def measure(candidate: Side, reference: Side) -> Round:
            return self._round(candidate, reference, rng, read)

        return comparison.run(open_pair, measure, self.evidences(), rule=self.rule, clock=clock)[0]

    def _round(self, candidate: Side, reference: Side, rng: Random, read: load.Reader) -> Round:
        found = comparison.alternate(candidate, reference, self.rule, rng, read)
        ratios, disturbances = dict(found.log_ratios), [*_unsteady(candidate, reference), *found.disturbances]
        if P99 in self.margins_pct:
            tails = [_tail(blocks, self.rule.clock) for blocks in (found.candidate, found.reference)]
            ratios[P99] = math.log(tails[0] / tails[1])
        if THROUGHPUT in self.margins_pct:
            before = read()
            ratios[THROUGHPUT] = self._volleys(candidate, reference, rng)
            # Calls in flight wait for one another, and a volley's own CPU time is not told from that of others.
            limits = replace(self.rule.limits, foreign=math.inf, stalled=math.inf)
            disturbances += load.disturbances(before, read(), 0, limits)
        return found._replace(log_ratios=ratios, disturbances=tuple(dict.fromkeys(disturbances)))

    def _volleys(self, candidate: Side, reference: Side, rng: Random) -> float:
        rates: tuple[list[float], list[float]] = ([], [])
        sides = (candidate, reference)
        for _ in range(VOLLEYS):
            for side in (0, 1) if rng.random() < 0.5 else (1, 0):  # noqa: PLR2004 - a fair coin
                rates[side].append(measurement.rate(sides[side].volley(in_flight=self.in_flight, seconds=VOLLEY_S)))
        return math.log(stats.mean(rates[1]) / stats.mean(rates[0]))


def margins(tolerance: Tolerance) -> dict[str, float]:
    """Return the margin of each figure: what the server profile says, else :data:`MARGINS_PCT`."""
    return {name: tolerance.per_metric_pct.get(f"live_{name}", usual) for name, usual in MARGINS_PCT.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The side that is judged, as the case's own measurement found it.

    Attributes:
        live: the engine that the live reference runs; ``None`` = the same.
    """

    engine: EngineSpec
    live: EngineSpec | None = None
    batches: BatchSpec
    info: EngineInfo
    inputs_digest: str


def measure(candidate: Candidate, rig: Rig, entry: BaselineEntry | None, *, cases: int) -> Live | None:
    """Compare a case with its live reference; ``None`` where the session has none.

    Raises:
        ConfigError: the reference cannot be had, or does not do the same work.
        GpuPerfError: a process failed; of the class that says whose fault it is.
    """
    if rig.opponent is None:
        return None
    reference = rig.opponent.reference(candidate.engine, candidate.batches, entry, other=candidate.live)
    live = Live(against=str(rig.opponent.against), reference=reference.name, missing=reference.missing)
    if reference.missing:
        return live
    rig.progress.turn("opening the live reference")
    info, contest = _rehearse(candidate, reference, rig, cases)
    rig.progress.turn("live pair", expected_s=contest.rule.budget_s)
    comparisons = contest.run(lambda: _pair(candidate, reference, rig), rng=rig.rng)
    left_out = f"{P99} is not judged: a round has fewer than {TAIL_CALLS} calls of each side"
    return replace(
        live,
        comparisons=comparisons,
        versions=info.versions,
        notes=() if P99 in comparisons else (left_out,),
    )


def _rehearse(candidate: Candidate, reference: Reference, rig: Rig, cases: int) -> tuple[EngineInfo, Contest]:
    """Open the reference once, which makes what it loads, and plan by what it takes; nothing of it is compared."""
    assert rig.opponent is not None
    for _ in range(2):  # whatever was made is found the second time
        started = time.monotonic()
        worker, info = open_side(rig, "live-reference", rig.opponent.launch, reference)
        if not worker.has_built:
            break
    _check_same_work(candidate, reference, info, worker.inputs_digest)
    worker.warm_up(max_s=rig.budget_s)
    pair_s = 2 * (time.monotonic() - started) + ROUND_S + 2 * VOLLEYS * VOLLEY_S
    call_s = stats.median(worker.measure(seconds=rig.budget_s * PROBE_SHARE, max_calls=TAIL_CALLS).host_ns) / 1e9
    volleys = measurement.saturate(worker, seconds=rig.budget_s * THROUGHPUT_SHARE)
    rig.pool.end("live-reference")
    wanted = margins(rig.profile.tolerance)
    if 2 * call_s * TAIL_CALLS > ROUND_S:
        wanted.pop(P99)
    clock: Clock = "device" if candidate.info.has_device_clock and info.has_device_clock else "host"
    rule = Rule(
        budget_s=rig.budget_s * COMPARISON_SHARE,
        round_s=ROUND_S,
        max_pairs=MAX_PAIRS,
        max_repeats=MAX_REPEATS,
        clock=clock,
        limits=load.Limits.for_margin(min(wanted.values())),
    ).fitted(pair_s)
    if candidate.info.device.partition(":")[0] == "cpu":
        rule = replace(rule, cores=load.cores(), block_s=SHARED_BLOCK_S)
    return info, Contest(rule=rule, margins_pct=wanted, in_flight=measurement.winner(volleys), cases=cases)


def _check_same_work(candidate: Candidate, reference: Reference, info: EngineInfo, inputs_digest: str) -> None:
    sides = [(each.device.partition(":")[0], each.provider, each.precision) for each in (candidate.info, info)]
    compared = sides if candidate.live is None else [side[:1] for side in sides]  # another engine is what was asked for
    if compared[0] != compared[1]:
        raise ConfigError(
            "the live reference runs elsewhere, or in another precision, than the case",
            got=f"{', '.join(sides[1])} ({reference.name})",
            expected=", ".join(sides[0]),
        )
    if candidate.inputs_digest != inputs_digest:
        raise ConfigError(
            "the live reference is fed other inputs than the case",
            got=f"{inputs_digest[:12]} ({reference.name})",
            expected=candidate.inputs_digest[:12],
            hint="the input set's code, or NumPy, differs between the sides; compare with one that shares it",
        )


@dataclass(frozen=True, slots=True)
class _Process:
    watched: Watched
    steady: Steady

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        return self.watched.measure(seconds=seconds, max_calls=max_calls, core=core)

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        return self.watched.volley(in_flight=in_flight, seconds=seconds)


@contextmanager
def _pair(candidate: Candidate, reference: Reference, rig: Rig) -> Iterator[tuple[Side, Side]]:
    """Open both sides in fresh processes, the first to start chosen by lot; end them afterwards, whatever happened."""
    assert rig.opponent is not None
    own = Reference(name="candidate", engine=candidate.engine, batches=candidate.batches)
    sides = [("live-candidate", None, own), ("live-reference", rig.opponent.launch, reference)]
    try:
        opened = {side[0]: open_side(rig, *side)[0] for side in (sides if rig.rng.random() < 0.5 else sides[::-1])}  # noqa: PLR2004 - a fair coin
        processes = [
            _Process(Watched(opened[role], rig.progress), opened[role].warm_up(max_s=rig.budget_s))
            for role, _, _ in sides
        ]
        yield processes[0], processes[1]
    finally:
        for role, _, _ in sides:
            rig.pool.end(role)


def open_side(rig: Rig, role: str, launch: Launch | None, side: Reference) -> tuple[Worker, EngineInfo]:
    """Open one side in a fresh process of that role."""
    worker = rig.pool.fresh(role, launch)
    folder = None if rig.bundle is None else rig.bundle.folder
    return worker, worker.open(
        side.engine, side.batches, cache=rig.cache, bundle=folder, artefact=side.artefact, progress=rig.progress.say
    )


def _unsteady(candidate: Side, reference: Side) -> list[str]:
    named = (("candidate", candidate.steady), ("reference", reference.steady))
    return [
        f"the {name}'s warm-up never became steady (drift {change(steady.drift_pct)})"
        for name, steady in named
        if not steady.is_steady
    ]


def _tail(blocks: Sequence[Block], clock: Clock) -> float:
    calls = [ns for block in blocks for ns in (block.device_ns if clock == "device" else block.host_ns)]
    return max(0.5, stats.percentile(calls, 0.99))
