"""One case from end to end. Read :func:`run` and :func:`measure` to read the product."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_gpuperf import (
    accuracy,
    baselines,
    comparison,
    conditions,
    health,
    incidents,
    livepair,
    measurement,
    replicas,
    roofline,
    standing,
    stats,
    verdict,
)
from pytest_gpuperf.errors import GpuPerfError, InfraError, OutputError
from pytest_gpuperf.evidence import Clock
from pytest_gpuperf.records import CaseResult, Differences, Measured, Status, Verdict
from pytest_gpuperf.report.progress import Watched
from pytest_gpuperf.rig import LATENCY_SHARE, THROUGHPUT_SHARE, expected_ratio
from pytest_gpuperf.window import allocator

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_gpuperf.health import Problem
    from pytest_gpuperf.records import BaselineEntry, BatchSpec, Block, Budget, EngineSpec, Live
    from pytest_gpuperf.rig import Arrays, Rig
    from pytest_gpuperf.worker.client import Worker

#: How often a case is measured where heat or another program disturbed it.
ATTEMPTS = 2
#: Points of a case's latency distribution in the reports.
QUANTILES = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What one call of ``gpuperf.check`` asks for.

    Attributes:
        id: pytest's node id, with ``#2`` and so on for further calls within one test.
        suite: name of the baseline file.
        reference: what speed and accuracy are relative to; equal to ``engine`` for the reference's own case.
        path, line: where the test stands, relative to rootdir, counted from 1.
        cases: of the session, which share the error rate of live pairs.
    """

    id: str
    suite: str
    engine: EngineSpec
    batches: BatchSpec
    budget: Budget
    reference: EngineSpec
    path: str = ""
    line: int = 0
    cases: int = 1


def run(case: Case, rig: Rig) -> CaseResult:
    """Measure, compare, judge; what goes wrong on the way becomes a verdict too."""
    started = time.monotonic()
    measured, differences = None, Differences()
    against = standing.Standing(reference="none", why="nothing was measured")
    entry = rig.entry(case.suite, case.id)
    try:
        with rig.exclusive():
            runs, problems = attempt(case, rig, entry)
        if entry is not None:
            differences = conditions.diff(runs[-1].conditions, entry.conditions)
            if runs[-1].live is not None and runs[-1].live.comparisons:
                differences = conditions.beside(differences)
        measured = replicas.combine(runs, rig.rule(entry, differences))
        same_machine = entry is not None and entry.machine == rig.fingerprint.machine
        outcome = verdict.judge(
            measured=measured,
            budget=case.budget,
            entry=entry,
            differences=differences,
            tolerance=conditions.widen(rig.profile.tolerance, differences),
            same_machine=same_machine,
        )
        against = standing.of(
            outcome.findings, entry, differences, same_machine=same_machine, min_processes=baselines.MIN_PROCESSES
        )
        outcome = roofline.overrule(under(problems, outcome), measured, case.batches.batch, rig.profile)
    except GpuPerfError as error:
        outcome = Verdict(status=blame(error), reason=error.what, hints=tuple(str(error).splitlines()[1:]))
    return CaseResult(
        id=case.id,
        suite=case.suite,
        model=case.engine.model.name,
        engine=case.engine.kind,
        precision=case.engine.precision,
        batch=case.batches.batch,
        verdict=outcome,
        measured=measured,
        seconds=time.monotonic() - started,
        reference=f"{case.reference.kind} {case.reference.precision}",
        differences=differences,
        judged_against=against.reference,
        why_not_better=against.why,
        path=case.path,
        line=case.line,
    )


def attempt(case: Case, rig: Rig, entry: BaselineEntry | None) -> tuple[list[Measured], tuple[Problem, ...]]:
    """Measure a case on a machine that is fit meanwhile, once more where it was not; say what was wrong in the end.

    Raises:
        GpuPerfError: of the class that says whose fault it is.
    """
    for _ in range(ATTEMPTS):
        problems = rig.settle()
        check_health(problems)
        runs = [measure(case, rig, entry, replica) for replica in range(rig.processes)]
        found = incidents.watch(runs[-1].telemetry, where=rig.gpu_uuid or "host")
        notes = tuple(f"{problem.cause}; {problem.next_step}" for problem in found if problem.status is None)
        runs[-1] = replace(runs[-1], notes=(*runs[-1].notes, *notes), live=_live(case, rig, entry, runs[-1]))
        problems += found
        check_health(problems)
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
        rule = replace(rig.rule(judged, differences, pair_s=pair_s), clock=clock)
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
        distribution=_distribution(blocks, clock),
        timeline=rig.sampler.timeline(started_ns, ended_ns),
        notes=info.notes,
    )


def _live(case: Case, rig: Rig, entry: BaselineEntry | None, measured: Measured) -> Live | None:
    """Compare with the live reference, where the session has one."""
    candidate = livepair.Candidate(
        engine=case.engine,
        batches=case.batches,
        info=measured.info,
        inputs_digest=measured.conditions["inputs_digest"],
    )
    return livepair.measure(candidate, rig, entry, cases=case.cases)


def _distribution(blocks: Sequence[Block], clock: Clock) -> tuple[float, ...]:
    """Return the latencies' quantiles in ms, to draw."""
    values = [ns / 1e6 for block in blocks for ns in (block.device_ns if clock == "device" else block.host_ns)]
    return tuple(float(f"{value:.5g}") for value in stats.quantiles(values, QUANTILES))


def check_health(problems: Collection[Problem]) -> None:
    """Refuse a machine on which no number would mean anything.

    Raises:
        InfraError: the worst problem, with its cause and the next step.
    """
    worst = health.worst(problems)
    if worst is not None and worst.status is Status.INFRA:
        raise InfraError(f"{worst.where}: {worst.cause}", got=worst.code, hint=worst.next_step)


def under(problems: Collection[Problem], outcome: Verdict) -> Verdict:
    """Return the verdict that stands under the machine's problems: speed is judged on a fit machine only."""
    worst = health.worst(problems)
    if worst is None or outcome.status in (Status.INACCURATE, Status.CONFIG):
        return outcome
    return replace(outcome, status=Status.INCONCLUSIVE, reason=str(worst))


def blame(error: GpuPerfError) -> Status:
    """Return whose fault it is that a case could not be measured."""
    if isinstance(error, InfraError):
        return Status.INFRA
    return Status.INACCURATE if isinstance(error, OutputError) else Status.CONFIG


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
