"""What happened to the machine while a case was measured, read from the case's telemetry window."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from pytest_gpuperf.health import COOL, RESET, THROTTLES, Problem, badness
from pytest_gpuperf.records import Status

#: Xids that an application causes in itself: noted, since the worker's own failure says more.
XIDS_OF_APPLICATIONS = frozenset({13, 31, 43, 45, 63, 68, 92, 109})
XIDS = {
    48: "an uncorrectable (double-bit) ECC error",
    63: "a row remapping or page retirement was recorded",
    64: "a row remapping or page retirement failed",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    94: "a contained ECC error",
    95: "an uncontained ECC error",
    119: "a timeout of the GPU's system processor (GSP)",
    120: "an error of the GPU's system processor (GSP)",
}


def watch(
    window: Mapping[str, float | None], *, where: str, allowed: Collection[str] = ("sw_power_cap",)
) -> tuple[Problem, ...]:
    """Return what went wrong with the machine while a case was measured, worst first.

    Args:
        window: one case's telemetry, see :meth:`pytest_gpuperf.telemetry.Sampler.window`.
        where: the GPU (or ``host``) in words.
        allowed: throttle reasons that the baseline had too.
    """
    found = [
        Problem(status=status, code=code, cause=cause, next_step=next_step, where=where)
        for watcher in (_lost, _throttled, _crowded, _sampled, _grown, _fragmented)
        for status, code, cause, next_step in watcher({k: v for k, v in window.items() if v is not None}, allowed)
    ]
    return tuple(sorted(found, key=badness))


def _lost(window: Mapping[str, float], _: Collection[str]) -> Iterator[tuple[Status | None, str, str, str]]:
    if window.get("gpu_lost"):
        cause = "the GPU fell off the bus while the case ran"
        yield Status.INFRA, "DCGM_FR_FALLEN_OFF_BUS", cause, "quarantine this runner and power-cycle it"
    if window.get("ecc_uncorrected"):
        cause = f"{window['ecc_uncorrected']:.0f} uncorrectable ECC error(s) while the case ran"
        yield Status.INFRA, "DCGM_FR_VOLATILE_DBE_DETECTED", cause, RESET
    if xid := int(window.get("xid", 0)):
        status = None if xid in XIDS_OF_APPLICATIONS else Status.INFRA
        code = {79: "DCGM_FR_FALLEN_OFF_BUS", 95: "DCGM_FR_UNCONTAINED_ERROR"}.get(xid, "DCGM_FR_XID_ERROR")
        cause = f"Xid {xid}: {XIDS.get(xid, 'see the Xid catalogue')}"
        yield status, code, cause, RESET if status else "see the worker's own error"


def _throttled(window: Mapping[str, float], allowed: Collection[str]) -> Iterator[tuple[Status | None, str, str, str]]:
    for name, code, step in (*THROTTLES.values(), ("sw_power_cap", "DCGM_FR_CLOCK_THROTTLE_POWER", COOL)):
        share = window.get(f"throttle_{name}_pct", 0.0)
        if share:
            cause = f"clocks were held down {share:.0f} % of the time: {name}"
            yield (None if name in allowed else Status.INCONCLUSIVE), code, cause, step


def _crowded(window: Mapping[str, float], _: Collection[str]) -> Iterator[tuple[Status | None, str, str, str]]:
    if count := window.get("foreign_processes"):
        cause = f"{count:.0f} other process(es) used the GPU while the case ran"
        step = "wait until the GPU is free, or stop the other process"
        yield Status.INCONCLUSIVE, "DCGM_FR_GRAPHICS_PROCESSES", cause, step
    if window.get("cpu_steal_pct", 0.0) > 5:  # noqa: PLR2004 - a twentieth of the time
        cause = f"the hypervisor took {window['cpu_steal_pct']:.0f} % of the CPU time for other machines"
        yield None, "HOST_NOISE", cause, "run on a dedicated host for tighter tolerances"
    if throttled := window.get("cgroup_throttled_ms"):
        cause = f"the container's CPU quota stopped its processes for {throttled:.0f} ms"
        yield None, "HOST_NOISE", cause, "raise the CPU limit of the container"
    if window.get("pcie_link_pct", 0.0) > 70:  # noqa: PLR2004 - a link does not deliver much more than that
        cause = f"copies use {window['pcie_link_pct']:.0f} % of the PCIe link: the case is transfer-bound"
        yield None, "PCIE_BOUND", cause, "send smaller inputs (uint8, FP16), or keep them on the GPU"


def _sampled(window: Mapping[str, float], _: Collection[str]) -> Iterator[tuple[Status | None, str, str, str]]:
    if window.get("missed_pct", 0.0) > 20:  # noqa: PLR2004 - a fifth of the samples
        cause = f"the sampler missed {window['missed_pct']:.0f} % of its samples, so its means are unavailable"
        yield None, "DCGM_FR_CANNOT_GET_STAT", cause, "latency stands; see whether NVML hangs (nvidia-smi -q)"


def _grown(window: Mapping[str, float], _: Collection[str]) -> Iterator[tuple[Status | None, str, str, str]]:
    for key, name in (("memory_growth_mib", "GPU memory"), ("rss_growth_mib", "the worker's memory")):
        growth, peak = window.get(key, 0.0), window.get(key.replace("growth", "peak"), 0.0)
        if growth > 32 and growth > 0.02 * peak:  # noqa: PLR2004 - above allocator steps, and 2 %
            yield None, "MEMORY_GROWTH", f"{name} grew by {growth:.0f} MiB while the case ran: a leak?", "run it longer"


def _fragmented(window: Mapping[str, float], _: Collection[str]) -> Iterator[tuple[Status | None, str, str, str]]:
    reserved, used = window.get("allocator_reserved_mib", 0.0), window.get("allocator_used_mib", 0.0)
    if reserved - used > 256 and reserved > 2 * used:  # noqa: PLR2004 - worth a look, and most of it
        cause = f"the worker's allocator holds {reserved:.0f} MiB and uses {used:.0f}: fragmentation, or a cache"
        yield None, "FRAGMENTATION", cause, "try another allocator, or trim it: MALLOC_ARENA_MAX, cudaMemPoolTrimTo"
