"""One case from end to end. Read :func:`run` and :func:`measure` to read the product."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_gpuperf import (
    accuracy,
    comparison,
    conditions,
    health,
    incidents,
    livepair,
    measurement,
    roofline,
    subject,
)
from pytest_gpuperf.evidence import Clock
from pytest_gpuperf.records import Differences, Measured
from pytest_gpuperf.report.progress import Watched
from pytest_gpuperf.rig import LATENCY_SHARE, THROUGHPUT_SHARE, expected_ratio
from pytest_gpuperf.subject import Subject
from pytest_gpuperf.window import allocator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_gpuperf.health import Problem
    from pytest_gpuperf.records import BaselineEntry, Block, Budget, CaseResult, EngineSpec, Live
    from pytest_gpuperf.rig import Arrays, Rig
    from pytest_gpuperf.worker.client import Worker

#: How often a case is measured where heat or another program disturbed it.
ATTEMPTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Case(Subject):
    """What one call of ``gpuperf.check`` asks for.

    Attributes:
        reference: what speed and accuracy are relative to; equal to ``engine`` for the reference's own case.
        live: the engine of the live reference, where it is another one than the case's.
    """

    budget: Budget
    reference: EngineSpec
    live: EngineSpec | None = None


def run(case: Case, rig: Rig) -> CaseResult:
    """Measure, compare, judge; what goes wrong on the way becomes a verdict too."""
    found = subject.run(case, lambda: _judged(case, rig))
    return replace(found, reference=f"{case.reference.kind} {case.reference.precision}")


def _judged(case: Case, rig: Rig) -> CaseResult:
    with rig.exclusive():
        runs, problems = attempt(case, rig, rig.entry(case.suite, case.id))
    return roofline.overrule(subject.judged(case, rig, runs, problems, budget=case.budget), rig.profile)


def attempt(case: Case, rig: Rig, entry: BaselineEntry | None) -> tuple[list[Measured], tuple[Problem, ...]]:
    """Measure a case on a machine that is fit meanwhile, once more where it was not; say what was wrong in the end.

    Raises:
        GpuPerfError: of the class that says whose fault it is.
    """
    for _ in range(ATTEMPTS):
        problems = rig.settle()
        health.refuse(problems)
        runs = [measure(case, rig, entry, replica) for replica in range(rig.processes)]
        found = incidents.watch(runs[-1].telemetry, where=rig.gpu_uuid or "host")
        notes = tuple(f"{problem.cause}; {problem.next_step}" for problem in found if problem.status is None)
        runs[-1] = replace(runs[-1], notes=(*runs[-1].notes, *notes), live=_live(case, rig, entry, runs[-1]))
        problems += found
        health.refuse(problems)
        if health.worst(problems) is None:
            break
    return runs, problems


def measure(case: Case, rig: Rig, entry: BaselineEntry | None, replica: int = 0) -> Measured:
    """Measure one case in one pair of processes, or in one process where the reference's outputs come from a bundle.

    Raises:
        GpuPerfError: of the class that says whose fault it is.
    """
    rig.progress.start(case.id, f"measuring {case.engine.kind} {case.engine.precision}")
    role = "reference" if case.engine == case.reference else "candidate"  # the reference need not be loaded twice
    candidate, info = rig.open(role, case.engine, case.batches, replica=replica)
    reference = None
    if case.engine != case.reference and rig.bundle is None:
        reference, _ = rig.open("reference", case.reference, case.batches)
    outputs = candidate.evaluate()
    delta = accuracy.compare(outputs, _expected_outputs(case, rig, reference, outputs), candidate.labels)

    rig.sampler.watch(rig.pool.pids)
    rig.progress.turn("warming up")
    steady = candidate.warm_up(max_s=rig.budget_s)
    pair_s = steady.call_s
    if reference is not None:
        pair_s += reference.warm_up(max_s=rig.budget_s).call_s

    circumstances = conditions.collect(case.engine, case.batches, info, rig.fingerprint, candidate.inputs_digest)
    started_ns = time.monotonic_ns()
    rig.progress.turn("timing", expected_s=rig.budget_s)
    timed = Watched(candidate, rig.progress)
    clock: Clock = "device" if info.has_device_clock else "host"
    compared = None
    if reference is None:
        blocks = measurement.sample(timed, seconds=rig.budget_s * LATENCY_SHARE)
    else:
        expected, between = expected_ratio(entry)
        differences = conditions.diff(circumstances, entry.conditions) if entry else Differences()
        judged = entry if rig.opponent is None else None  # beside a live pair the ratio is an estimate only
        rule = replace(rig.rule(judged, differences, cases=case.cases, pair_s=pair_s), clock=clock)
        compared, blocks, _ = comparison.compare(
            timed, Watched(reference, rig.progress), rule=rule, rng=rig.rng, expected=expected, between=between
        )
    volleys = measurement.saturate(timed, seconds=rig.budget_s * THROUGHPUT_SHARE)
    ended_ns = time.monotonic_ns()
    calls = sum(len(block.host_ns) for block in blocks) + sum(volley.calls for volley in volleys)
    window = rig.sampler.window(started_ns, ended_ns, calls=calls, batch=case.batches.batch, pid=candidate.pid)
    return Measured(
        info=info,
        steady=steady,
        metrics=measurement.latency(blocks, clock) | {"throughput_sps": measurement.throughput(volleys)},
        accuracy=delta,
        comparison=compared,
        conditions=circumstances,
        telemetry=window | allocator(volleys),
        distribution=measurement.distribution(_latencies_ms(blocks, clock)),
        timeline=rig.sampler.timeline(started_ns, ended_ns),
        notes=info.notes,
    )


def _live(case: Case, rig: Rig, entry: BaselineEntry | None, measured: Measured) -> Live | None:
    """Compare with the live reference, where the session has one."""
    candidate = livepair.Candidate(
        engine=case.engine,
        live=case.live,
        batches=case.batches,
        info=measured.info,
        inputs_digest=measured.conditions["inputs_digest"],
    )
    return livepair.measure(candidate, rig, entry, cases=case.cases)


def _latencies_ms(blocks: Sequence[Block], clock: Clock) -> list[float]:
    return [ns / 1e6 for block in blocks for ns in (block.device_ns if clock == "device" else block.host_ns)]


def run_once(case: Case, rig: Rig) -> None:
    """Run every batch of the case once, and nothing else (``--gpu-off``).

    Raises:
        GpuPerfError: the engine cannot be opened, or fails.
    """
    candidate, _ = rig.open("candidate", case.engine, case.batches)
    candidate.evaluate()


def _expected_outputs(case: Case, rig: Rig, reference: Worker | None, outputs: Arrays) -> Arrays:
    """Return the reference's outputs: the bundle's, or its own case evaluates them and the others reuse them."""
    batches = case.batches
    key = f"{case.reference!r} {batches.inputs} {batches.samples} {batches.seed} {batches.root}"
    if key not in rig.outputs:
        if rig.bundle is not None:
            rig.outputs[key] = rig.bundle.reference(case.engine.model.name, batches)
        else:
            rig.outputs[key] = outputs if reference is None else reference.evaluate()
    return rig.outputs[key]
