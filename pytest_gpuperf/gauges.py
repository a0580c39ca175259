"""What the sampler reads at each tick: the GPU through NVML, and its twin on the host through ``/proc``.

A gauge returns raw values (counters as counters); :mod:`pytest_gpuperf.window` turns them into a case's telemetry.
What cannot be read is left out of the row, never set to 0.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_gpuperf import nvml

Row = dict[str, float]

_MIB = 1024 * 1024
_SLOW_S = 1.0  # the process list holds the driver's lock for milliseconds, so it is read once a second
_ERRORS_S = 0.5
_HOST_S = 0.2
#: GPM metrics (Hopper and later): NVML's number → name.
_GPM = {2: "sm_activity_pct", 3: "sm_occupancy_pct", 5: "tensor_activity_pct", 10: "dram_activity_pct"}


@dataclass(slots=True)
class Gauge:
    """One source of values.

    Attributes:
        name: says what hung when it does.
        read: one call into driver or kernel.
        every_s: read no more often than this; 0 = at each tick.
        due_s: monotonic time of the next reading.
    """

    name: str
    read: Callable[[], Row]
    every_s: float = 0.0
    due_s: float = 0.0


class Pids:
    """The processes under measurement; set while the sampler runs."""

    def __init__(self) -> None:
        self.watched: tuple[int, ...] = ()

    def family(self) -> set[int]:
        """Return the watched pids and all that descend from them."""
        found = set(self.watched)
        fresh = list(found)
        while fresh:
            children = _read(f"/proc/{fresh[0]}/task/{fresh.pop(0)}/children").split()
            fresh += [pid for pid in map(int, children) if pid not in found]
            found.update(map(int, children))
        return found


def host_gauges(pids: Pids) -> list[Gauge]:
    """Return the gauges that every Linux machine has."""
    return [
        Gauge("/proc/stat", _cpu_ticks, _HOST_S),
        Gauge("/proc/loadavg", _load, _SLOW_S),
        Gauge("cpufreq", _frequency, _SLOW_S),
        Gauge("cgroup cpu.stat", _cgroup, _HOST_S),
        Gauge("/proc/PID/stat", lambda: _processes(pids.watched), _HOST_S),
    ]


def gpu_gauges(uuid: str, pids: Pids) -> list[Gauge]:
    """Return the gauges of one GPU; empty where NVML or the GPU does not answer at all."""
    pynvml = nvml.binding()
    if pynvml is None:
        return []
    library = nvml.Asker(pynvml)
    library("nvmlInit")
    handle = library("nvmlDeviceGetHandleByUUID", uuid)
    if handle is None:
        return []
    return _Card(pynvml, handle, pids).gauges()


class _Card:
    """The gauges of one GPU, each one NVML call."""

    def __init__(self, pynvml: Any, handle: Any, pids: Pids) -> None:
        self.pynvml = pynvml
        self.handle = handle
        self.pids = pids
        self.ask = nvml.Asker(pynvml, handle)
        self.library = nvml.Asker(pynvml)

    def gauges(self) -> list[Gauge]:
        gauges = [
            Gauge("nvmlDeviceGetUtilizationRates", self.utilisation),
            Gauge("nvmlDeviceGetMemoryInfo", self.memory),
            Gauge("nvmlDeviceGetFieldValues", self.counters),
            Gauge("nvmlDeviceGetClockInfo", self.clocks),
            Gauge("nvmlDeviceGetCurrentClocksEventReasons", self.throttle),
            Gauge("nvmlDeviceGetTemperature", self.temperature, _HOST_S),
            Gauge("nvmlDeviceGetCurrPcieLinkGeneration", self.link, _SLOW_S),
            Gauge("nvmlDeviceGetTotalEccErrors", self.ecc, _ERRORS_S),
            Gauge("nvmlDeviceGetComputeRunningProcesses", self.processes, _SLOW_S),
        ]
        if events := self._events():
            gauges.append(Gauge("nvmlEventSetWait", lambda: self.xid(events), _ERRORS_S))
        support = self.ask("nvmlGpmQueryDeviceSupport")
        if support is not None and support.isSupportedDevice:
            gauges.append(Gauge("nvmlGpmSampleGet", _Gpm(self.pynvml, self.handle).read, _HOST_S))
        return [Gauge(gauge.name, self._lost_or(gauge.read), gauge.every_s) for gauge in gauges]

    def _lost_or(self, read: Callable[[], Row]) -> Callable[[], Row]:
        def reading() -> Row:
            row = read()
            return {**row, "gpu_lost": 1.0} if self.ask.fault in {"GPU_IS_LOST", "RESET_REQUIRED"} else row

        return reading

    def utilisation(self) -> Row:
        rates = self.ask("nvmlDeviceGetUtilizationRates")
        return {} if rates is None else {"gpu_utilisation_pct": rates.gpu, "memory_bus_pct": rates.memory}

    def memory(self) -> Row:
        memory = self.ask("nvmlDeviceGetMemoryInfo", self.pynvml.nvmlMemory_v2)
        if memory is None:
            return {}
        return {"memory_used_mib": memory.used / _MIB, "memory_reserved_mib": memory.reserved / _MIB}

    def counters(self) -> Row:
        fields = {
            "energy_mj": self.pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
            "power_mw": self.pynvml.NVML_FI_DEV_POWER_INSTANT,
            "pcie_tx_bytes": self.pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES,
            "pcie_rx_bytes": self.pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES,
        }
        values = dict(zip(fields, nvml.field_values(self.ask, self.pynvml, tuple(fields.values())), strict=True))
        if values["power_mw"] is None:  # before driver 530, and on cards without the instant reading
            values["power_mw"] = self.ask("nvmlDeviceGetPowerUsage")
        if values["energy_mj"] is None:
            values["energy_mj"] = self.ask("nvmlDeviceGetTotalEnergyConsumption")
        return _known(values)

    def clocks(self) -> Row:
        return _known(
            {
                "sm_clock_mhz": self.ask("nvmlDeviceGetClockInfo", self.pynvml.NVML_CLOCK_SM),
                "memory_clock_mhz": self.ask("nvmlDeviceGetClockInfo", self.pynvml.NVML_CLOCK_MEM),
            }
        )

    def throttle(self) -> Row:
        return _known({"throttle": nvml.throttle_reasons(self.ask)})

    def temperature(self) -> Row:
        return _known({"temperature_c": self.ask("nvmlDeviceGetTemperature", self.pynvml.NVML_TEMPERATURE_GPU)})

    def link(self) -> Row:
        return _known(
            {
                "pcie_gen": self.ask("nvmlDeviceGetCurrPcieLinkGeneration"),
                "pcie_width": self.ask("nvmlDeviceGetCurrPcieLinkWidth"),
            }
        )

    def ecc(self) -> Row:
        kind = self.pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED
        return _known({"ecc_errors": self.ask("nvmlDeviceGetTotalEccErrors", kind, self.pynvml.NVML_VOLATILE_ECC)})

    def processes(self) -> Row:
        running = self.ask("nvmlDeviceGetComputeRunningProcesses")
        # A pid that this pid namespace does not have may be our own worker, seen from outside its container.
        if running is None or any(not Path(f"/proc/{process.pid}").exists() for process in running):
            return {}
        watched = {process.pid: process.usedGpuMemory for process in running if process.pid in self.pids.watched}
        return {
            "foreign_processes": len({process.pid for process in running} - self.pids.family()),
            **{f"gpu_mib.{pid}": used / _MIB for pid, used in watched.items() if used is not None},
        }

    def xid(self, events: Any) -> Row:
        event = self.library("nvmlEventSetWait", events, 0)
        return {} if event is None else {"xid": event.eventData}

    def _events(self) -> Any:
        events = self.library("nvmlEventSetCreate")
        if events is not None:
            self.ask("nvmlDeviceRegisterEvents", self.pynvml.nvmlEventTypeXidCriticalError, events)
        return None if "nvmlDeviceRegisterEvents" in self.ask.errors else events


class _Gpm:
    """GPM: activity of SMs, tensor cores and DRAM between two samples."""

    def __init__(self, pynvml: Any, handle: Any) -> None:
        self.pynvml = pynvml
        self.ask = nvml.Asker(pynvml)
        self.device = nvml.Asker(pynvml, handle)
        self.samples = [self.ask("nvmlGpmSampleAlloc"), self.ask("nvmlGpmSampleAlloc")]
        self.is_primed = False

    def read(self) -> Row:
        before, after = self.samples
        if before is None or after is None or self.device("nvmlGpmSampleGet", after) is None:
            return {}
        self.samples.reverse()
        if not self.is_primed:
            self.is_primed = True
            return {}
        request = self.pynvml.c_nvmlGpmMetricsGet_t()
        request.version = self.pynvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(_GPM)
        request.sample1, request.sample2 = before, after
        for slot, number in enumerate(_GPM):
            request.metrics[slot].metricId = ctypes.c_uint(number)
        if self.ask("nvmlGpmMetricsGet", request) is None:
            return {}
        answers = zip(_GPM.values(), request.metrics, strict=False)
        return {name: float(metric.value) for name, metric in answers if metric.nvmlReturn == 0}


def _cpu_ticks() -> Row:
    fields = _read("/proc/stat").split("\n", 1)[0].split()[1:]
    if len(fields) < 8:  # noqa: PLR2004 - user nice system idle iowait irq softirq steal
        return {}
    ticks = [float(field) for field in fields[:8]]
    return {"cpu_ticks": sum(ticks), "cpu_idle_ticks": ticks[3] + ticks[4], "cpu_steal_ticks": ticks[7]}


def _load() -> Row:
    first = _read("/proc/loadavg").split(" ", 1)[0]
    return {"load": float(first)} if first else {}


def _frequency() -> Row:
    # Only CPUs this process may use, and few: each reading interrupts the CPU in question.
    cpus = sorted(os.sched_getaffinity(0))[:4]
    khz = [_read(f"/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq").strip() for cpu in cpus]
    known = [float(value) for value in khz if value]
    return {"cpu_frequency_mhz": sum(known) / len(known) / 1000} if known else {}


def _cgroup() -> Row:
    for line in _read("/sys/fs/cgroup/cpu.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "throttled_usec":
            return {"cgroup_throttled_us": float(value)}
    return {}


def _processes(pids: Iterable[int]) -> Row:
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    row: Row = {}
    cpu = 0.0
    for pid in pids:
        # The command may hold blanks and brackets; the numbers start after the last bracket.
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields:
            cpu += (int(fields[11]) + int(fields[12])) / tick
            row[f"rss_mib.{pid}"] = int(fields[21]) * page / _MIB
    return {**row, "rss_mib": sum(row.values()), "process_cpu_s": cpu} if row else {}


def _known(values: dict[str, Any]) -> Row:
    return {name: float(value) for name, value in values.items() if value is not None}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
