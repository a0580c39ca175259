"""What one call of a ``check`` asks for, and how any measured one becomes a result: compared, judged, never lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_gpuperf import baselines, conditions, health, replicas, standing, verdict
from pytest_gpuperf.errors import GpuPerfError, InfraError, OutputError
from pytest_gpuperf.records import Budget, CaseResult, Differences, Finding, Measured, Status, Verdict

if TYPE_CHECKING:
    from pytest_gpuperf.health import Problem
    from pytest_gpuperf.records import BatchSpec, EngineSpec, Layer
    from pytest_gpuperf.rig import Rig


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured, and which test wants to know.

    Attributes:
        id: pytest's node id, with ``#2`` and so on for further calls within one test.
        suite: name of the baseline file.
        engine, batches: what is run, and what it is fed.
        path, line: where the test stands, relative to rootdir, counted from 1.
        cases: of the session, which share its chance of a false alarm.
    """

    id: str
    suite: str
    engine: EngineSpec
    batches: BatchSpec
    path: str = ""
    line: int = 0
    cases: int = 1

    @property
    def system(self) -> str:
        """The engine's kind, and what stands before it or beside it; one name never means two ways of measuring."""
        return self.engine.kind

    @property
    def batch(self) -> int:
        """Samples of a call."""
        return self.batches.batch

    def result(self, outcome: Verdict, *, reference: str = "none", layers: tuple[Layer, ...] = ()) -> CaseResult:
        """Return a result that holds no measured figures (yet)."""
        return CaseResult(
            id=self.id,
            suite=self.suite,
            model=self.engine.model.name,
            engine=self.system,
            precision=self.engine.precision,
            batch=self.batch,
            verdict=outcome,
            reference=reference,
            why_not_better="nothing was measured",
            path=self.path,
            line=self.line,
            layers=layers,
        )


def run(this: Subject, judge: Callable[[], CaseResult]) -> CaseResult:
    """Return what ``judge`` finds; what goes wrong on the way becomes a verdict too."""
    started = time.monotonic()
    try:
        found = judge()
    except GpuPerfError as error:
        found = this.result(Verdict(status=_blame(error), reason=error.what, hints=tuple(str(error).splitlines()[1:])))
    return replace(found, seconds=time.monotonic() - started)


def judged(
    this: Subject,
    rig: Rig,
    runs: Sequence[Measured],
    problems: Collection[Problem],
    *,
    budget: Budget | None = None,
    found: Sequence[Finding] = (),
) -> CaseResult:
    """Compare the runs of one subject with its approved baseline, and decide.

    Args:
        this: what was measured.
        rig: of the session.
        runs: one per process pair, at least one.
        problems: of the machine meanwhile; speed is judged on a fit machine only.
        budget: absolute bounds.
        found: what was judged already, by bounds of its own.
    """
    entry = rig.entry(this.suite, this.id)
    last = runs[-1]
    differences = Differences() if entry is None else conditions.diff(last.conditions, entry.conditions)
    if last.live is not None and last.live.comparisons:
        differences = conditions.beside(differences)
    measured = replicas.combine(runs, rig.rule(entry, differences, cases=this.cases))
    same_machine = entry is not None and entry.machine == rig.fingerprint.machine
    outcome = verdict.judge(
        measured=measured,
        budget=budget or Budget(),
        entry=entry,
        differences=differences,
        tolerance=conditions.widen(rig.profile.tolerance, differences),
        same_machine=same_machine,
        found=found,
    )
    against = standing.of(
        outcome.findings, entry, differences, same_machine=same_machine, min_processes=baselines.MIN_PROCESSES
    )
    return replace(
        this.result(_under(problems, outcome)),
        measured=measured,
        differences=differences,
        judged_against=against.reference,
        why_not_better=against.why,
    )


def _under(problems: Collection[Problem], outcome: Verdict) -> Verdict:
    worst = health.worst(problems)
    if worst is None or outcome.status in (Status.INACCURATE, Status.CONFIG):
        return outcome
    return replace(outcome, status=Status.INCONCLUSIVE, reason=str(worst))


def _blame(error: GpuPerfError) -> Status:
    """Return whose fault it is that a subject could not be measured."""
    if isinstance(error, InfraError):
        return Status.INFRA
    return Status.INACCURATE if isinstance(error, OutputError) else Status.CONFIG
