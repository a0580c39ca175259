"""One served model from end to end: the engine behind a real server, real traffic, one verdict. Read :func:`run`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf import budgets, conditions, health, inputs, measurement, subject
from pytest_gpuperf.records import Finding, Measured, Status
from pytest_gpuperf.serving import figures, search
from pytest_gpuperf.serving.load import Load, Server, external, in_flight, supervised
from pytest_gpuperf.subject import Subject

if TYPE_CHECKING:
    from pytest_gpuperf.records import CaseResult, EngineInfo
    from pytest_gpuperf.rig import Rig
    from pytest_gpuperf.serving.load import Samples
    from pytest_gpuperf.serving.plan import Batching, ServingBudget, Trial
    from pytest_gpuperf.serving.search import Highest


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Subject):
    """What one call of ``serving.check`` asks for; ``batches`` are the samples that requests are made of, one each.

    Attributes:
        log: file of the server's output.
        url: of a server that runs already, as ``grpc://host:port``; it serves the model under the model's name.
    """

    budget: ServingBudget
    batching: Batching
    log: Path
    url: str | None = None

    @property
    def system(self) -> str:
        """The engine's kind, served."""
        return f"served {self.engine.kind}"

    @property
    def batch(self) -> int:
        """Most samples that the server gathers."""
        return self.batching.max_batch


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
    return subject.run(this, lambda: _checked(this, rig))


def _checked(this: Service, rig: Rig) -> CaseResult:
    with rig.exclusive():
        problems = rig.settle()
        health.refuse(problems)
        served = [measure(this, rig) for _ in range(rig.processes)]
    found = [finding for each in served for finding in findings(each, this.budget)]
    return subject.judged(this, rig, [each.measured for each in served], problems, found=found)


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
    circumstances = conditions.collect(this.engine, this.batches, info, rig.fingerprint, digest)
    circumstances |= _conditions(this, server)
    measured = Measured(
        info=info,
        steady=figures.steady(warm),
        metrics=figures.metrics(judged, full, highest, trials, gain),
        accuracy=None,
        comparison=None,
        conditions=circumstances,
        notes=() if full.counted is None else (f"at saturation: {full.counted}",),
        telemetry={} if full.counted is None else full.counted.figures(),
        distribution=() if judged is None else measurement.distribution(judged.latencies_ms),
    )
    return Served(measured=measured, judged=judged, highest=highest, trials=trials)


def _conditions(this: Service, server: str) -> dict[str, str]:
    """Return what a served model's numbers depend on beyond its engine."""
    name, _, version = server.partition(" ")
    return {
        "server": name,
        "server_version": version,
        "mode.batching": str(this.batching),
        "mode.instances": str(this.batching.instances),
        "mode.p99_budget_ms": f"{this.budget.p99_ms:g}",
    }


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


def findings(served: Served, budget: ServingBudget) -> list[Finding]:
    """Judge what the budget bounds; what could not be shown either way is inconclusive, never a pass."""
    measured = served.measured.metrics
    found = [_rate(served, budget)]
    for figure, field in _BOUNDS.items():
        limit = getattr(budget, field)
        if limit is not None:
            is_upper = field.startswith("max_")
            found.append(budgets.bound(figure, measured.get(figure), limit, is_upper=is_upper))
    wrong = sum(trial.faults.get("wrong", 0) for trial in served.trials)
    if wrong:
        note = f"{wrong} answers are not the engine's own"
        found.append(Finding(metric="answers", status=Status.INACCURATE, measured=None, note=note))
    problems = dict.fromkeys(problem for trial in served.trials for problem in trial.problems)
    if problems:
        note = f"LoadGen's log: {'; '.join(problems)}"
        found.append(Finding(metric="traffic", status=Status.INCONCLUSIVE, measured=None, note=note))
    return found


_BOUNDS = {
    "error_rate": "max_error_rate",
    "throughput_sps": "min_throughput_sps",
    "batching_gain": "min_batching_gain",
    "queue_ms": "max_queue_ms",
    "mean_batch": "min_mean_batch",
}
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
