"""What cases are measured with: the processes, caches and limits of one session."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pytest_gpuperf import baselines, conditions, figures, hardware, health, load, opponent
from pytest_gpuperf.convert.bundle import Bundle
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.evidence import Between, Rule
from pytest_gpuperf.health import Problem
from pytest_gpuperf.opponent import Opponent
from pytest_gpuperf.records import Status
from pytest_gpuperf.telemetry import Sampler
from pytest_gpuperf.worker import lock
from pytest_gpuperf.worker.pool import Pool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_gpuperf.baselines import Suite
    from pytest_gpuperf.options import Settings
    from pytest_gpuperf.profiles import ServerProfile
    from pytest_gpuperf.records import BaselineEntry, BatchSpec, Differences, EngineInfo, EngineSpec, Fingerprint
    from pytest_gpuperf.records.machine import Gpu, Machine
    from pytest_gpuperf.report.progress import Progress
    from pytest_gpuperf.worker.client import Worker

    Arrays = dict[str, NDArray[np.generic]]

#: How long a case waits for another pytest process on the same device.
LOCK_TIMEOUT_S = 3600.0
#: How long a case waits for the GPU to cool down, or for another program to leave it.
SETTLE_S = 60.0
#: Shares of a case's seconds. A comparison ends as soon as the evidence allows, so most cases stay far below its share;
#: latencies with nothing to compare them to, and throughput, take theirs.
COMPARISON_SHARE, LATENCY_SHARE, THROUGHPUT_SHARE = 0.83, 0.1, 0.07
#: On a busy machine calls of a second vary by half, and a handful of them show nothing: better late than undecided.
OVERTIME = 3.0
#: Rounds within one pair of processes are short and many: what they say of the pair grows with their number.
#: Repeats end with the time: a neighbour's burst lasts for seconds, of which a hypervisor tells nothing beforehand.
ROUND_S, MAX_ROUNDS, MAX_REPEATS = 0.25, 32, 1000


@dataclass(frozen=True, kw_only=True)
class Rig:
    """Shared by all cases of a session.

    Attributes:
        pool: the measuring processes, by role.
        cache: folder of converted models.
        bundle: what models, inputs and the reference's outputs come from, instead of from TensorFlow.
        suites: the profile's approved baselines, by suite.
        budget_s: measuring seconds per case.
        processes: fresh process pairs per case; 1 = the session's long-lived pair.
        rng: decides the order of the blocks.
        progress: is told about every long step.
        problems: what was wrong with the machine when the session began, worst first.
        gpu: what cases run on; ``None`` for a CPU profile.
        opponent: the live reference, where ``--gpu-against`` names one.
        outputs: the reference's outputs by what they depend on; one evaluation serves all engines of a model.
        tf32: by role, whether its process computes FP32 in TF32.
    """

    pool: Pool
    profile: ServerProfile
    machine: Machine
    fingerprint: Fingerprint
    cache: Path
    bundle: Bundle | None
    suites: Mapping[str, Suite]
    budget_s: float
    processes: int
    rng: Random
    progress: Progress
    problems: tuple[Problem, ...] = ()
    gpu: Gpu | None = None
    opponent: Opponent | None = None
    outputs: dict[str, Arrays] = field(default_factory=dict)
    tf32: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def build(cls, settings: Settings, profile: ServerProfile, machine: Machine, progress: Progress) -> Rig:
        """Put a session's rig together; nothing is started yet.

        Raises:
            BaselineError: a baseline file of the profile cannot be trusted.
            ConfigError: the bundle cannot be read, or the live reference cannot be had.
        """
        gpu = hardware.measured_gpu(machine) if profile.is_gpu else None
        suites = _suites(settings.baselines / profile.name)
        return cls(
            pool=Pool(settings.logs, deadline_s=settings.timeout_s),
            profile=profile,
            machine=machine,
            fingerprint=hardware.fingerprint(machine, profile),
            cache=settings.cache,
            bundle=None if settings.bundle is None else Bundle(settings.bundle),
            suites=suites,
            budget_s=settings.time_budget_s or profile.time_budget_s,
            processes=settings.processes,
            rng=Random(settings.seed),  # noqa: S311 - an order, not a secret
            progress=progress,
            problems=health.check(machine, profile, on=None if gpu is None else (gpu.index,)),
            gpu=gpu,
            opponent=_opponent(settings),
        )

    def open(self, role: str, spec: EngineSpec, batches: BatchSpec, *, replica: int = 0) -> tuple[Worker, EngineInfo]:
        """Return the role's process with the engine open and its batches bound, and what the engine really is.

        Args:
            role: ``candidate`` or ``reference``.
            spec: the engine.
            batches: what it is fed.
            replica: which of the case's processes. Each is fresh; with a bundle, where no reference runs beside it and
                starting and loading would take most of a server's time, each replica is one process for the session.
        """
        worker_role = role if self.bundle is None else f"{role}-{replica}"
        is_fresh = (self.bundle is None and self.processes > 1) or self._switches_tf32(worker_role, spec)
        worker = self.pool.fresh(worker_role) if is_fresh else self.pool.worker(worker_role)
        folder = None if self.bundle is None else self.bundle.folder
        info = worker.open(spec, batches, cache=self.cache, bundle=folder, progress=self.progress.say)
        if worker.has_built:  # conversion leaves pools, threads and a fragmented heap behind: measure without them
            worker = self.pool.fresh(worker_role)
            info = worker.open(spec, batches, cache=self.cache, bundle=folder, progress=self.progress.say)
        return worker, info

    def _switches_tf32(self, role: str, spec: EngineSpec) -> bool:
        """Whether ``spec`` wants another FP32 than the role's engines so far: a library keeps the kernels it chose."""
        is_tf32 = spec.precision == "tf32"
        return self.tf32.setdefault(role, is_tf32) != is_tf32 and (self.tf32.update({role: is_tf32}) is None)

    @property
    def approved(self) -> dict[str, BaselineEntry]:
        """All approved entries of the profile, by case id."""
        return {case_id: entry for suite in self.suites.values() for case_id, entry in suite.entries.items()}

    def entry(self, suite: str, case_id: str) -> BaselineEntry | None:
        """Return the approved baseline of a case."""
        return self.suites[suite].entries.get(case_id) if suite in self.suites else None

    def check_references(self, ids: Collection[str]) -> None:
        """Look for the artefacts of these tests' baselines, where they are the live reference.

        Raises:
            ConfigError: one is missing; the message names the case.
        """
        if self.opponent is None or self.opponent.against.kind != "baseline":
            return
        for case_id, entry in self.approved.items():
            if case_id.partition("#")[0] in ids and entry.provenance.kind == "measured":
                try:
                    opponent.approved(entry, self.cache)
                except ConfigError as error:
                    raise ConfigError(f"{case_id}: {error.what}", got=error.got, hint=error.hint) from error

    def rule(
        self, entry: BaselineEntry | None, differences: Differences, *, cases: int = 1, pair_s: float = 0.0
    ) -> Rule:
        """Return how the ratio to the reference is measured and decided.

        Args:
            entry: the approved baseline; without one there is nothing to decide, only an estimate to make.
            differences: between its conditions and the case's.
            cases: of the session, which share its chance of a false alarm.
            pair_s: seconds that one call of each side takes together; slow engines get fewer looks.
        """
        tolerance = conditions.widen(self.profile.tolerance, differences)
        margin_pct = tolerance.limit_pct(figures.SPEED_RATIO)
        rule = (
            Rule(
                margin_pct=margin_pct,
                budget_s=self.budget_s * (COMPARISON_SHARE if entry else LATENCY_SHARE + THROUGHPUT_SHARE),
                overtime=OVERTIME if entry else 1.0,
                round_s=ROUND_S,
                max_pairs=MAX_ROUNDS,
                max_repeats=MAX_REPEATS,
                limits=load.Limits.for_margin(margin_pct),
            )
            .fitted(pair_s)
            .within_suite(cases)
        )
        return rule if entry else replace(rule, min_pairs=rule.max_pairs)

    @property
    def gpu_uuid(self) -> str | None:
        """The GPU that cases run on, by the driver's UUID; ``None`` for a CPU profile."""
        return None if self.gpu is None else self.gpu.uuid

    def settle(self, on: Collection[int] = ()) -> tuple[Problem, ...]:
        """Return what is wrong with the machine now, after waiting for what passes: heat, another process.

        Args:
            on: indices of the GPUs that are needed; none given, the one that cases run on.
        """
        if self.gpu is None:
            return self.problems
        deadline = float("inf")
        while True:
            problems = health.check(hardware.probe(), self.profile, on=on or (self.gpu.index,), own=self.pool.pids)
            deadline = min(deadline, time.monotonic() + SETTLE_S)  # a probe that was slow itself is no waiting
            worst = health.worst(problems)
            if worst is None or worst.status is not Status.INCONCLUSIVE or time.monotonic() > deadline:
                return problems
            self.progress.say(f"waiting for a fit machine: {worst}")
            time.sleep(SETTLE_S / 15)

    @cached_property
    def sampler(self) -> Sampler:
        """The session's telemetry process, started by the first case."""
        return Sampler.start(device=self.gpu_uuid)

    @contextmanager
    def exclusive(self, device: str | None = None) -> Iterator[None]:
        """Hold a device, by default the one that cases run on, so that no other pytest process measures on it."""
        with lock.hold(device or self.gpu_uuid or "cpu", timeout_s=LOCK_TIMEOUT_S, progress=self.progress.say):
            yield

    def stop(self) -> None:
        """End the measuring processes and the telemetry, remove checkouts; stopping twice is harmless."""
        self.pool.stop()
        if self.opponent is not None:
            self.opponent.close()
        if "sampler" in self.__dict__:
            self.sampler.stop()


def _opponent(settings: Settings) -> Opponent | None:
    if settings.against is None:
        return None
    return opponent.resolve(settings.against, root=settings.root, out=settings.out, cache=settings.cache)


def _suites(folder: Path) -> dict[str, Suite]:
    return {path.stem: baselines.read(path) for path in sorted(folder.glob("*.json"))}


def expected_ratio(entry: BaselineEntry | None) -> tuple[float, Between | None]:
    """Return the approved latency ratio to the reference, and how much it differs between processes."""
    base = None if entry is None else entry.metrics.get(figures.SPEED_RATIO)
    if base is None:
        return 1.0, None
    if base.spread_pct is None:
        return 1 / base.value, None
    return 1 / base.value, Between(spread_pct=base.spread_pct, processes=base.n_processes)
