"""One served model from end to end: the engine behind a real server, real traffic, one verdict. Read :func:`run`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf import baselines, budgets, case, conditions, inputs, replicas, standing, stats, verdict
from pytest_gpuperf.errors import GpuPerfError
from pytest_gpuperf.records import (
    Budget,
    CaseResult,
    Differences,
    Finding,
    Measured,
    Metric,
    Status,
    Steady,
    Verdict,
)
from pytest_gpuperf.serving import search
from pytest_gpuperf.serving.load import Load, Server, external, in_flight, supervised

if TYPE_CHECKING:
    from pytest_gpuperf.records import BatchSpec, EngineInfo, EngineSpec
    from pytest_gpuperf.rig import Rig
    from pytest_gpuperf.serving.load import Samples
    from pytest_gpuperf.serving.plan import Batching, ServingBudget, Trial
    from pytest_gpuperf.serving.search import Highest

#: Between the halves of a warm-up; more is no steady server.
STEADY_PCT = 25.0
_MIN_HALF = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What one call of ``serving.check`` asks for.

    Attributes:
        id: pytest's node id, with ``#2`` and so on for further calls within one test.
        suite: name of the baseline file.
        batches: the samples that requests are made of, one each.
        log: file of the server's output.
        url: of a server that runs already, as ``grpc://host:port``; it serves the model under the model's name.
        path, line: where the test stands, relative to rootdir, counted from 1.
    """

    id: str
    suite: str
    engine: EngineSpec
    batches: BatchSpec
    budget: ServingBudget
    batching: Batching
    log: Path
    url: str | None = None
    path: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the traffic gave.

    Attributes:
        measured: the case's record.
        judged: the run that the 99th percentile is judged by, ``None`` where no rate was good.
        highest: the search's result.
        trials: all runs.
    """

    measured: Measured
    judged: Trial | None
    highest: Highest
    trials: tuple[Trial, ...]


def run(this: Service, rig: Rig) -> CaseResult:
    """Serve, load, judge; what goes wrong on the way becomes a verdict too."""
    started = time.monotonic()
    served, differences = None, Differences()
    against = standing.Standing(reference="none", why="nothing was measured")
    entry = rig.entry(this.suite, this.id)
    try:
        with rig.exclusive():
            case.check_health(rig.settle())
            served = measure(this, rig)
        if entry is not None:
            differences = conditions.diff(served.measured.conditions, entry.conditions)
        measured = replicas.combine([served.measured], rig.rule(entry, differences))
        served = replace(served, measured=measured)
        same_machine = entry is not None and entry.machine == rig.fingerprint.machine
        outcome = verdict.judge(
            measured=measured,
            budget=Budget(),
            entry=entry,
            differences=differences,
            tolerance=conditions.widen(rig.profile.tolerance, differences),
            same_machine=same_machine,
            found=findings(served, this.budget),
        )
        against = standing.of(
            outcome.findings, entry, differences, same_machine=same_machine, min_processes=baselines.MIN_PROCESSES
        )
    except GpuPerfError as error:
        outcome = Verdict(status=case.blame(error), reason=error.what, hints=tuple(str(error).splitlines()[1:]))
    return CaseResult(
        id=this.id,
        suite=this.suite,
        model=this.engine.model.name,
        engine=this.engine.kind,
        precision=this.engine.precision,
        batch=this.batching.max_batch,
        verdict=outcome,
        measured=None if served is None else served.measured,
        seconds=time.monotonic() - started,
        differences=differences,
        judged_against=against.reference,
        why_not_better=against.why,
        path=this.path,
        line=this.line,
    )


def run_once(this: Service, rig: Rig) -> None:
    """Start the server and have it answer each sample once, and nothing else (``--gpu-off``).

    Raises:
        GpuPerfError: the engine or the server cannot be opened, or fails.
    """
    with _loaded(this, rig, this.batching) as (load, _, _):
        load.check_answers()


def measure(this: Service, rig: Rig) -> Served:
    """Load one server: warm up, saturate it, search the highest rate that keeps the budget.

    Raises:
        GpuPerfError: of the class that says whose fault it is.
    """
    rig.progress.start(this.id, f"serving {this.engine.kind} {this.engine.precision}, {this.batching}")
    with _loaded(this, rig, this.batching) as (load, info, digest):
        rig.progress.turn("warming up")
        warm = load.warm_up()
        rig.progress.turn("saturating the server")
        full = load.saturate()
        batches = load.statistics
        rig.progress.turn("searching the highest rate", expected_s=2 * rig.budget_s)
        limit_ms = this.budget.p99_ms
        highest = search.highest(
            lambda rate: load.poisson(rate, limit_ms=limit_ms),
            limit_ms=limit_ms,
            ceiling=1.2 * full.sps,
            first=this.budget.rate,
            until=time.monotonic() + 2 * rig.budget_s,
        )
        server, trials = load.server, tuple(load.trials)
    gain = None if this.budget.min_batching_gain is None else full.sps / _unbatched_sps(this, rig)
    judged = _judged(highest, trials, this.budget)
    circumstances = conditions.collect(this.engine, this.batches, info, rig.fingerprint, digest) | {
        "server": server.partition(" ")[0],
        "server_version": server.partition(" ")[2],
        "mode.batching": str(this.batching),
        "mode.instances": str(this.batching.instances),
        "mode.p99_budget_ms": f"{limit_ms:g}",
    }
    latencies = [] if judged is None else judged.latencies_ms
    measured = Measured(
        info=info,
        steady=steady(warm),
        metrics=metrics(judged, full, highest, trials, gain),
        accuracy=None,
        comparison=None,
        conditions=circumstances,
        notes=() if batches is None else (f"at saturation: {batches}",),
        telemetry={} if batches is None else batches.figures(),
        distribution=tuple(float(f"{ms:.5g}") for ms in stats.quantiles(latencies, case.QUANTILES))
        if latencies
        else (),
    )
    return Served(measured=measured, judged=judged, highest=highest, trials=trials)


@contextmanager
def _loaded(this: Service, rig: Rig, batching: Batching) -> Iterator[tuple[Load, EngineInfo, str]]:
    """Open the engine once for its tensors and its own answers, then put a server before it."""
    worker, info = rig.open("candidate", this.engine, this.batches)
    answers = worker.evaluate()
    digest = worker.inputs_digest
    worker.close()
    if rig.bundle is None:
        arrays = inputs.load(this.batches).arrays
    else:
        arrays = rig.bundle.batches(this.engine.model.name, this.batches).arrays
    samples: Samples = {tensor.name: arrays[tensor.name] for tensor in info.inputs}
    with tempfile.TemporaryDirectory(prefix="gpuperf-serving-") as folder:
        name = this.engine.model.name
        server: Server = (
            external(this.url, name)
            if this.url
            else supervised(Path(folder), this.engine, info, batching, cache=rig.cache, log=this.log)
        )
        with (
            server,
            Load(
                server, samples, answers, folder=Path(folder) / "runs", model=name, in_flight=in_flight(batching)
            ) as load,
        ):
            yield load, info, digest


def _unbatched_sps(this: Service, rig: Rig) -> float:
    rig.progress.turn("saturating the server without batching")
    with _loaded(this, rig, replace(this.batching, is_dynamic=False)) as (load, _, _):
        load.warm_up()
        return load.saturate().sps


def _judged(highest: Highest, trials: tuple[Trial, ...], budget: ServingBudget) -> Trial | None:
    """Return the run at the rate that was asked for, or at the highest good one."""
    if budget.rate is None:
        return highest.at_good
    asked = [trial for trial in trials if trial.traffic.scenario == "server" and trial.traffic.rate_qps == budget.rate]
    return asked[-1] if asked else highest.at_good


def steady(warm: Trial) -> Steady:
    """Say whether latency still moved between the halves of the warm-up."""
    half = len(warm.latencies_ms) // 2
    if half < _MIN_HALF:
        return Steady(is_steady=False, warmup_runs=2 * half, warmup_s=warm.seconds, drift_pct=0.0)
    first, last = stats.median(warm.latencies_ms[:half]), stats.median(warm.latencies_ms[half:])
    drift = 100 * (last / first - 1)
    return Steady(
        is_steady=abs(drift) <= STEADY_PCT, warmup_runs=len(warm.latencies_ms), warmup_s=warm.seconds, drift_pct=drift
    )


def metrics(
    judged: Trial | None, full: Trial, highest: Highest, trials: tuple[Trial, ...], gain: float | None
) -> dict[str, Metric]:
    """Return the figures of a served model by name."""
    sent = sum(len(trial.latencies_ms) for trial in trials)
    failed = sum(trial.failed for trial in trials)
    lower, upper = stats.clopper_pearson(min(failed, sent), sent)
    found = {
        "throughput_sps": Metric(value=full.sps, unit="sps", n=len(full.latencies_ms), higher="better"),
        "error_rate": Metric(value=failed / sent, unit="fraction", lower=lower, upper=upper, n=sent),
        "max_rate_qps": Metric(
            value=highest.good,
            unit="qps",
            lower=highest.good,
            upper=highest.bad,
            n=len(highest.trials),
            higher="better",
        ),
    }
    if gain is not None:
        found["batching_gain"] = Metric(value=gain, unit="x", higher="better")
    for name, q in (("latency_p50_ms", 0.5), ("latency_p99_ms", 0.99)):
        bounds = None if judged is None else stats.percentile_bounds(judged.latencies_ms, q)
        if judged is not None and bounds is not None:
            value = stats.percentile(judged.latencies_ms, q)
            found[name] = Metric(value=value, unit="ms", lower=bounds[0], upper=bounds[1], n=len(judged.latencies_ms))
    return found


def findings(served: Served, budget: ServingBudget) -> list[Finding]:
    """Judge what the budget bounds; what could not be shown either way is inconclusive, never a pass."""
    figures = served.measured.metrics
    found = [
        _rate(served, budget),
        budgets.bound("error_rate", figures["error_rate"], budget.max_error_rate, is_upper=True),
    ]
    if budget.min_throughput_sps is not None:
        limit = budget.min_throughput_sps
        found.append(budgets.bound("throughput_sps", figures["throughput_sps"], limit, is_upper=False))
    if budget.min_batching_gain is not None:
        limit = budget.min_batching_gain
        found.append(budgets.bound("batching_gain", figures["batching_gain"], limit, is_upper=False))
    wrong = sum(trial.faults.get("wrong", 0) for trial in served.trials)
    if wrong:
        note = f"{wrong} answers are not the engine's own"
        found.append(Finding(metric="answers", status=Status.INACCURATE, measured=None, note=note))
    problems = dict.fromkeys(problem for trial in served.trials for problem in trial.problems)
    if problems:
        note = f"LoadGen's log: {'; '.join(problems)}"
        found.append(Finding(metric="traffic", status=Status.INCONCLUSIVE, measured=None, note=note))
    return found


_SAID = {"good": Status.PASSED, "bad": Status.OVER_BUDGET, "open": Status.INCONCLUSIVE}


def _rate(served: Served, budget: ServingBudget) -> Finding:
    """Judge whether 99 % of the requests are in time at the rate that was asked for, or at any rate at all."""
    if served.judged is not None:
        said = search.answer(served.judged, budget.p99_ms)
    else:
        said = "bad" if served.highest.bad < float("inf") else "open"
    metric = served.measured.metrics.get("latency_p99_ms")
    at = "no rate" if served.judged is None else f"{served.judged.traffic.rate_qps:.4g} requests/s"
    note = {
        "good": f"at {at}",
        "bad": f"at {at}, of {len(served.trials)} runs",
        "open": f"at {at}: too few requests to tell, or the load generator itself was late",
    }[said]
    return Finding(
        metric="latency_p99_ms",
        status=_SAID[said],
        measured=metric,
        limit=budget.p99_ms,
        reference="budget",
        note=note,
    )
