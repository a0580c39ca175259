"""One engine on every device of a host at once: what the devices lose to one another, and which one is slow.

Each round measures every device alone, in turn, then all of them together, so that a drift of the host touches both
sides. Efficiency is the aggregate rate over the sum of the rates alone; it says nothing of a slow card, which is slow
alone too and is found by the spread.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Literal

from pytest_gpuperf import load, stats
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.measurement import rate
from pytest_gpuperf.records import Metric
from pytest_gpuperf.worker.pool import Launch, Pool

if TYPE_CHECKING:
    from pytest_gpuperf.records import BatchSpec, EngineInfo, EngineSpec, Steady, TensorSpec
    from pytest_gpuperf.records.machine import Gpu
    from pytest_gpuperf.worker.client import Worker

Cause = Literal["none", "host", "pcie", "unknown"]

#: Bytes per second and lane, one way, after encoding: PCI Express Base Specification, generations 3 to 5.
LANE_BYTES = {3: 0.985e9, 4: 1.969e9, 5: 3.938e9}
#: Shares from which on the host's processors, or a link, are called the bottleneck.
BUSY_CPU, BUSY_LINK = 0.9, 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingBudget:
    """What a host with several devices must keep.

    Attributes:
        efficiency: aggregate samples/s over the sum of what each device does alone.
        slow: a device below this share of the median device is a slow card.
        rounds: each measures every device alone and all together.
        round_s: seconds of each measurement.
        in_flight: calls outstanding per device.
        devices: how many to use, the first ones; ``None`` uses all.
    """

    efficiency: float = 0.95
    slow: float = 0.95
    rounds: int = 5
    round_s: float = 1.0
    in_flight: int = 2
    devices: int | None = None

    def seconds(self, devices: int) -> float:
        """Return how long the rounds take."""
        return self.rounds * (devices + 1) * self.round_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where one worker runs.

    Attributes:
        env: makes the worker see this device only.
        cores: the processors it may use; empty = all.
        link_bytes_s: of its PCIe link, one way; ``None`` where there is none, or it is unknown.
        lock: which lock keeps other pytest processes off it.
        gpu: its index, ``None`` where it is none.
    """

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    cores: frozenset[int] = frozenset()
    link_bytes_s: float | None = None
    lock: str = "cpu"
    gpu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Samples per second of each device, alone and together, and how busy the processors were with all of them."""

    alone: tuple[float, ...]
    together: tuple[float, ...]
    cpu_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What the rounds come to.

    Attributes:
        shares: of each device, its rate alone over the median device's.
        slow: names of the devices below the budget's share.
        cause: of a low efficiency.
    """

    throughput: Metric
    efficiency: Metric
    shares: dict[str, float]
    slow: tuple[str, ...]
    cause: Cause

    def lines(self) -> list[str]:
        """Return the finding in words."""
        low, high = self.efficiency.lower, self.efficiency.upper
        told = f"{len(self.shares)} devices: {self.throughput.value:.4g} samples/s together"
        told += f", efficiency {self.efficiency.value:.3f} [{low:.3f}, {high:.3f}]"
        spread = ", ".join(f"{name} {share:.2f}" for name, share in self.shares.items())
        lines = [told, f"of the {self._peer} device: {spread}", *self.slow_lines()]
        return lines + ([_WHY[self.cause]] if self.cause in _WHY else [])

    def slow_lines(self) -> list[str]:
        """Return a line for each slow device."""
        return [
            f"{name} is slow: {100 * (1 - self.shares[name]):.0f} % below the {self._peer} one" for name in self.slow
        ]

    @property
    def _peer(self) -> str:
        return "faster" if len(self.shares) == 2 else "median"  # noqa: PLR2004 - as in _peer


_WHY: dict[Cause, str] = {
    "host": "host-bound: the processors that feed the devices are busy; give each worker its own cores",
    "pcie": "PCIe-bound: the links are full; keep inputs on the device, or send fewer bytes a sample",
    "unknown": "neither the processors nor the links are full: look at power, clocks and shared memory",
}


def gpus(found: Sequence[Gpu]) -> list[Device]:
    """Return the GPUs of a host as devices."""
    return [
        Device(
            name=f"gpu{gpu.index}",
            env={"CUDA_VISIBLE_DEVICES": gpu.uuid},
            link_bytes_s=_link(gpu),
            lock=gpu.uuid,
            gpu=gpu.index,
        )
        for gpu in found
    ]


def cores() -> list[Device]:
    """Return single cores as devices, for hosts without GPUs."""
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # two threads on one core only wait for each other
    allowed = sorted(os.sched_getaffinity(0))
    return [Device(name=f"core{core}", env=single, cores=frozenset({core})) for core in allowed]


def first(devices: Sequence[Device], count: int | None) -> tuple[Device, ...]:
    """Return the first ``count`` devices, or all.

    Raises:
        ConfigError: there are fewer.
    """
    if count is not None and count > len(devices):
        names = ", ".join(device.name for device in devices)
        raise ConfigError("there are too few devices", got=f"{len(devices)} ({names})", expected=str(count))
    return tuple(devices[:count])


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """One worker per device, with the engine open and warmed up. Made by :func:`crew`.

    Attributes:
        info: of the engine, the same on every device.
        steady: how the least steady warm-up ended.
        inputs_digest: of the arrays that feed them all.
    """

    devices: tuple[Device, ...]
    workers: tuple[Worker, ...]
    info: EngineInfo
    steady: Steady
    inputs_digest: str

    def measure(self, budget: ScalingBudget) -> Scaling:
        """Measure the devices alone and together.

        Raises:
            WorkerError: a worker died or hung; its log is named.
        """
        allowed = frozenset().union(*(device.cores for device in self.devices)) or os.sched_getaffinity(0)
        rounds = [_round(self.workers, budget, frozenset(allowed)) for _ in range(budget.rounds)]
        return judge(self.devices, rounds, budget, sample_bytes=sum(map(_sample_bytes, self.info.inputs)))


@contextmanager
def crew(
    devices: Sequence[Device],
    engine: EngineSpec,
    batches: BatchSpec,
    *,
    cache: Path,
    logs: Path,
    bundle: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Crew]:
    """Open an engine on every device, and end the workers afterwards.

    Args:
        devices: at least two.
        engine: as for a single device.
        batches: that feed every device.
        cache: folder of converted models.
        logs: folder of the workers' logs.
        bundle: folder that models and inputs come from instead.
        progress: told about long steps.

    Raises:
        ConfigError: fewer than two devices, or the engine cannot be had.
        WorkerError: a worker died or hung; its log is named.
    """
    if len(devices) < 2:  # noqa: PLR2004 - one device scales with nobody
        raise ConfigError("scaling needs at least two devices", got=str(len(devices)), expected="2 or more")
    with Pool(logs) as pool:
        workers: list[Worker] = []
        warm_ups: list[Steady] = []
        for device in devices:
            worker = pool.fresh(device.name, Launch(env=device.env))
            if device.cores:
                _pin(worker.pid, device.cores)
            info = worker.open(engine, batches, cache=cache, bundle=bundle, progress=progress)
            progress(f"warming up {device.name}")
            warm_ups.append(worker.warm_up(max_s=30.0))
            workers.append(worker)
        yield Crew(
            devices=tuple(devices),
            workers=tuple(workers),
            info=info,
            steady=min(warm_ups, key=lambda steady: steady.is_steady),
            inputs_digest=workers[0].inputs_digest,
        )


def judge(devices: Sequence[Device], rounds: Sequence[Round], budget: ScalingBudget, *, sample_bytes: float) -> Scaling:
    """Return efficiency with its 95 % interval over the rounds, the slow devices, and what a loss comes from."""
    ratios = [math.log(sum(this.together) / sum(this.alone)) for this in rounds]
    centre, lower, upper = (math.exp(value) for value in stats.mean_interval(ratios))
    efficiency = Metric(value=centre, unit="x", lower=lower, upper=upper, n=len(rounds), higher="better")
    value, low, high = stats.mean_interval([sum(this.together) for this in rounds])
    alone = [stats.median([this.alone[index] for this in rounds]) for index in range(len(devices))]
    shares = {device.name: each / _peer(alone) for device, each in zip(devices, alone, strict=True)}
    together = [stats.median([this.together[index] for this in rounds]) for index in range(len(devices))]
    links = [
        each * sample_bytes / device.link_bytes_s
        for device, each in zip(devices, together, strict=True)
        if device.link_bytes_s
    ]
    is_low = centre < budget.efficiency
    return Scaling(
        throughput=Metric(value=value, unit="sps", lower=low, upper=high, n=len(rounds), higher="better"),
        efficiency=efficiency,
        shares=shares,
        slow=tuple(name for name, share in shares.items() if share < budget.slow),
        cause=bound(stats.median([this.cpu_share for this in rounds]), max(links, default=0.0)) if is_low else "none",
    )


def bound(cpu_share: float, link_share: float) -> Cause:
    """Return what a loss comes from: the fuller of what feeds the devices, where it is full at all."""
    if cpu_share >= BUSY_CPU and cpu_share >= link_share:
        return "host"
    return "pcie" if link_share >= BUSY_LINK else "unknown"


def _peer(rates: Sequence[float]) -> float:
    """Return what a device is compared with: the median, or of two devices the faster one."""
    return max(rates) if len(rates) == 2 else stats.median(rates)  # noqa: PLR2004 - neither of two is the odd one


def _round(workers: Sequence[Worker], budget: ScalingBudget, processors: frozenset[int]) -> Round:
    def one(worker: Worker) -> float:
        return rate(worker.volley(in_flight=budget.in_flight, seconds=budget.round_s))

    alone = tuple(one(worker) for worker in workers)
    start = Barrier(len(workers))

    def at_once(worker: Worker) -> float:
        start.wait()
        return one(worker)

    with ThreadPoolExecutor(len(workers)) as threads:
        before, began_ns = load.busy_ns(processors), time.monotonic_ns()
        together = tuple(threads.map(at_once, workers))
        after, lasted_ns = load.busy_ns(processors), time.monotonic_ns() - began_ns
    busy_ns = 0 if before is None or after is None else after - before
    return Round(alone=alone, together=together, cpu_share=busy_ns / lasted_ns / len(processors))


def _pin(pid: int, cores: frozenset[int]) -> None:
    """Keep a process on these cores: the threads that it has, and by inheritance those that it will have."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _sample_bytes(tensor: TensorSpec) -> float:
    """Return the bytes of one sample; the first extent is the batch, fixed or not."""
    import numpy as np

    return float(math.prod(abs(extent) for extent in tensor.shape[1:]) * np.dtype(tensor.dtype).itemsize)


def _link(gpu: Gpu) -> float | None:
    lane = LANE_BYTES.get(gpu.pcie_gen_max or 0)
    return None if lane is None or not gpu.pcie_width else lane * gpu.pcie_width
