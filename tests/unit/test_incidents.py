from __future__ import annotations

import pytest

from pytest_gpuperf import incidents
from pytest_gpuperf.records import Status


@pytest.mark.parametrize(
    ("window", "status", "code", "cause"),
    [
        ({"memory_growth_mib": 40.0, "memory_peak_mib": 1000.0}, None, "MEMORY_GROWTH", "GPU memory grew by 40 MiB"),
        ({"rss_growth_mib": 40.0, "rss_peak_mib": 1000.0}, None, "MEMORY_GROWTH", "the worker's memory grew by 40 MiB"),
        ({"pcie_link_pct": 80.0}, None, "PCIE_BOUND", "copies use 80 % of the PCIe link: the case is transfer-bound"),
        ({"cpu_steal_pct": 6.0}, None, "HOST_NOISE", "the hypervisor took 6 % of the CPU time for other machines"),
        (
            {"cgroup_throttled_ms": 12.0},
            None,
            "HOST_NOISE",
            "the container's CPU quota stopped its processes for 12 ms",
        ),
        ({"foreign_processes": 2.0}, Status.INCONCLUSIVE, "DCGM_FR_GRAPHICS_PROCESSES", "2 other process(es) used"),
        ({"missed_pct": 21.0}, None, "DCGM_FR_CANNOT_GET_STAT", "the sampler missed 21 % of its samples"),
        ({"ecc_uncorrected": 1.0}, Status.INFRA, "DCGM_FR_VOLATILE_DBE_DETECTED", "1 uncorrectable ECC error(s)"),
        (
            {"allocator_reserved_mib": 1200.0, "allocator_used_mib": 300.0},
            None,
            "FRAGMENTATION",
            "the worker's allocator holds 1200 MiB and uses 300: fragmentation, or a cache",
        ),
        ({"xid": 999.0}, Status.INFRA, "DCGM_FR_XID_ERROR", "Xid 999: see the Xid catalogue"),
        ({"throttle_hw_slowdown_pct": 5.0}, Status.INCONCLUSIVE, "DCGM_FR_THROTTLING_VIOLATION", "5 % of the time"),
    ],
)
def test_what_is_called_out(window, status, code, cause):
    (problem,) = incidents.watch(window, where="GPU 0")
    assert (problem.status, problem.code, problem.where) == (status, code, "GPU 0")
    assert cause in problem.cause
    assert problem.next_step


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"memory_growth_mib": 31.0, "memory_peak_mib": 100.0},
        {"memory_growth_mib": 100.0, "memory_peak_mib": 10_000.0},
        {"pcie_link_pct": 70.0, "cpu_steal_pct": 5.0, "missed_pct": 20.0, "foreign_processes": 0.0},
        {"allocator_reserved_mib": 1200.0, "allocator_used_mib": 600.0},
        {"allocator_reserved_mib": 256.0, "allocator_used_mib": 0.0},
        {"allocator_reserved_mib": None, "allocator_used_mib": None},
        {"memory_growth_mib": None, "xid": None, "gpu_lost": None},
    ],
)
def test_what_is_not(window):
    assert incidents.watch(window, where="GPU 0") == ()


def test_the_worst_comes_first():
    found = incidents.watch({"pcie_link_pct": 90.0, "foreign_processes": 1.0, "xid": 79.0}, where="GPU 0")
    assert [problem.status for problem in found] == [Status.INFRA, Status.INCONCLUSIVE, None]
