"""One engine on every device of a host at once: what the devices lose to one another, and which one is slow.

Each round measures every device alone, in turn, then all of them together, so that a drift of the host touches both
sides. Efficiency is the aggregate rate over the sum of the rates alone; it says nothing of a slow card, which is slow
alone too and is found by the spread.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Literal

from pytest_gpuperf import stats
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.measurement import rate
from pytest_gpuperf.records import BatchSpec, EngineSpec, Metric, TensorSpec
from pytest_gpuperf.worker.pool import Launch, Pool

if TYPE_CHECKING:
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
    """

    efficiency: float = 0.95
    slow: float = 0.95
    rounds: int = 5
    round_s: float = 1.0
    in_flight: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where one worker runs.

    Attributes:
        env: makes the worker see this device only.
        cores: the processors it may use; empty = all.
        link_bytes_s: of its PCIe link, one way; ``None`` where there is none, or it is unknown.
    """

    name: str
    env: Mapping[str, str] = field(default_factory=dict)
    cores: frozenset[int] = frozenset()
    link_bytes_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Samples per second of each device, alone and together, and how busy the allowed processors were meanwhile."""

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
        peer = "faster" if len(self.shares) == 2 else "median"  # noqa: PLR2004 - as in _peer
        lines = [told, f"of the {peer} device: {spread}"]
        lines += [f"{name} is slow: {100 * (1 - self.shares[name]):.0f} % below the {peer} one" for name in self.slow]
        return lines + ([_WHY[self.cause]] if self.cause in _WHY else [])


_WHY: dict[Cause, str] = {
    "host": "host-bound: the processors that feed the devices are busy; give each worker its own cores",
    "pcie": "PCIe-bound: the links are full; keep inputs on the device, or send fewer bytes a sample",
    "unknown": "neither the processors nor the links are full: look at power, clocks and shared memory",
}


def gpus(found: Sequence[Gpu]) -> list[Device]:
    """Return the GPUs of a host as devices."""
    return [
        Device(name=f"gpu{gpu.index}", env={"CUDA_VISIBLE_DEVICES": gpu.uuid}, link_bytes_s=_link(gpu)) for gpu in found
    ]


def cores(count: int) -> list[Device]:
    """Return single cores as devices, for hosts without GPUs.

    Raises:
        ConfigError: the host has fewer.
    """
    free = sorted(os.sched_getaffinity(0))
    if count > len(free):
        raise ConfigError("there are too few cores", got=f"{len(free)}", expected=f"{count}, one a device")
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # two threads on one core only wait for each other
    return [Device(name=f"core{core}", env=single, cores=frozenset({core})) for core in free[:count]]


def measure(
    devices: Sequence[Device], engine: EngineSpec, batches: BatchSpec, budget: ScalingBudget, *, cache: Path, logs: Path
) -> Scaling:
    """Measure an engine on all devices.

    Raises:
        ConfigError: fewer than two devices.
        WorkerError: a worker died or hung; its log is named.
    """
    if len(devices) < 2:  # noqa: PLR2004 - one device scales with nobody
        raise ConfigError("scaling needs at least two devices", got=str(len(devices)))
    with Pool(logs) as pool:
        workers, sample_bytes = [], 0.0
        for device in devices:
            worker = pool.fresh(device.name, Launch(env=device.env))
            if device.cores:
                _pin(worker.pid, device.cores)
            info = worker.open(engine, batches, cache=cache, progress=_ignore)
            worker.warm_up(max_s=30.0)
            sample_bytes = float(sum(map(_bytes, info.inputs)))
            workers.append(worker)
        allowed = frozenset().union(*(device.cores for device in devices)) or frozenset(os.sched_getaffinity(0))
        rounds = [_round(workers, budget, len(allowed)) for _ in range(budget.rounds)]
    return judge(devices, rounds, budget, sample_bytes=sample_bytes)


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


def _round(workers: Sequence[Worker], budget: ScalingBudget, processors: int) -> Round:
    def one(worker: Worker) -> float:
        return rate(worker.volley(in_flight=budget.in_flight, seconds=budget.round_s))

    alone = tuple(one(worker) for worker in workers)
    start = Barrier(len(workers))

    def at_once(worker: Worker) -> float:
        start.wait()
        return one(worker)

    with ThreadPoolExecutor(len(workers)) as threads:
        before, began = _cpu_s(workers), time.monotonic()
        together = tuple(threads.map(at_once, workers))
        share = (_cpu_s(workers) - before) / (time.monotonic() - began) / processors
    return Round(alone=alone, together=together, cpu_share=share)


def _pin(pid: int, cores: frozenset[int]) -> None:
    """Keep a process on these cores: the threads that it has, and by inheritance those that it will have."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def _cpu_s(workers: Sequence[Worker]) -> float:
    """Return the processor seconds that the workers have used (proc(5), fields 14 and 15)."""
    ticks = 0
    for worker in workers:
        fields = Path(f"/proc/{worker.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _bytes(tensor: TensorSpec) -> float:
    import numpy as np

    return float(math.prod(abs(extent) for extent in tensor.shape) * np.dtype(tensor.dtype).itemsize)


def _link(gpu: Gpu) -> float | None:
    lane = LANE_BYTES.get(gpu.pcie_gen_max or 0)
    return None if lane is None or not gpu.pcie_width else lane * gpu.pcie_width


def _ignore(text: str) -> None:
    """Drop a line of progress."""
