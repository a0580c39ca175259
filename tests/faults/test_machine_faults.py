"""Faults of driver, GPU and machine, by their row in docs/faults.md: each gives the right verdict, cause and next step.

The real nvidia-ml-py drives a scripted NVML library in the probe's own process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.nvml import FakeNvml

from pytest_gpuperf import hardware, health, incidents, profiles
from pytest_gpuperf.errors import ConfigError, InfraError
from pytest_gpuperf.health import Problem
from pytest_gpuperf.records import Status
from pytest_gpuperf.telemetry import Sampler

INFRA, INCONCLUSIVE, NOTE = Status.INFRA, Status.INCONCLUSIVE, None
UUID = "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"

# (row and name, script, verdict, code, part of the cause, part of the next step)
STATES = [
    ("row28_gpu_lost", ["nvmlDeviceGetHandleByIndex_v2 = rc 15"],
     INFRA, "DCGM_FR_FALLEN_OFF_BUS", "fallen off the bus", "power-cycle"),
    ("row28_gpu_lost_in_a_query", ["nvmlDeviceGetMemoryInfo_v2 = rc 15", "nvmlDeviceGetPersistenceMode = rc 3"],
     INFRA, "DCGM_FR_FALLEN_OFF_BUS", "fallen off the bus", "power-cycle"),
    ("row28_reset_required", ["nvmlDeviceGetHandleByIndex_v2 = rc 16"],
     INFRA, "RESET_REQUIRED", "until it is reset", "nvidia-smi --gpu-reset"),
    ("row28_unreadable_inforom", ["nvmlDeviceGetName = rc 14"],
     INFRA, "DCGM_FR_API_FAIL_GPU", "CORRUPTED_INFOROM", "reset the GPU"),
    ("row29_uncorrectable_ecc", ["ecc_uncorrected = 3"],
     INFRA, "DCGM_FR_VOLATILE_DBE_DETECTED", "3 uncorrectable ECC error(s)", "reset the GPU"),
    ("row29_remap_pending", ["remap_pending = 1"],
     INFRA, "DCGM_FR_PENDING_ROW_REMAP", "row remapping is pending", "reset the GPU"),
    ("row29_remap_failed", ["remap_failed = 1"],
     INFRA, "DCGM_FR_ROW_REMAP_FAILURE", "row remapping failed", "have the GPU replaced"),
    ("row29_retirement_pending", ["retirement_pending = 1"],
     INFRA, "DCGM_FR_PENDING_PAGE_RETIREMENTS", "page retirements are pending", "reset the GPU"),
    ("row29_too_many_retired_pages", ["retired_single = 40", "retired_double = 20"],
     INFRA, "DCGM_FR_RETIRED_PAGES_LIMIT", "60 memory pages are retired", "have the GPU replaced"),
    ("row29_recovery_reset", ["recovery = 1"],
     INFRA, "GPU_RECOVERY_ACTION", "asks for a GPU reset", "reset the GPU"),
    ("row29_recovery_reboot", ["recovery = 2"],
     INFRA, "GPU_RECOVERY_ACTION", "asks for a reboot of the node", "reboot this node"),
    ("row29_recovery_drain", ["recovery = 4"],
     INFRA, "GPU_RECOVERY_ACTION", "asks for drain and reset", "drain this runner"),
    ("row30_corrected_ecc", ["ecc_corrected = 12"],
     NOTE, "DCGM_FR_VOLATILE_SBE_DETECTED", "12 corrected ECC error(s)", "watch"),
    ("row30_ecc_off", ["ecc = 0"],
     NOTE, "DCGM_FR_ECC_DISABLED", "ECC is off", "nvidia-smi -e 1"),
    ("row31_hw_slowdown", ["throttle = 8"],
     INCONCLUSIVE, "DCGM_FR_THROTTLING_VIOLATION", "hw_slowdown", "cool down"),
    ("row31_hw_thermal", ["throttle = 64"],
     INCONCLUSIVE, "DCGM_FR_CLOCK_THROTTLE_THERMAL", "hw_thermal", "cool down"),
    ("row31_sw_thermal", ["throttle = 32"],
     INCONCLUSIVE, "DCGM_FR_CLOCK_THROTTLE_THERMAL", "sw_thermal", "cool down"),
    ("row31_power_brake", ["throttle = 128"],
     INCONCLUSIVE, "DCGM_FR_CLOCK_THROTTLE_POWER", "power_brake", "power supplies"),
    ("row31_board_limit", ["throttle = 512"],
     INCONCLUSIVE, "DCGM_FR_CLOCK_THROTTLE_POWER", "board_limit", "power cables"),
    ("row31_reliability", ["throttle = 1024"],
     INCONCLUSIVE, "DCGM_FR_CLOCK_THROTTLE_POWER", "reliability", "voltage"),
    ("row31_hot", ["temperature = 95"],
     INCONCLUSIVE, "DCGM_FR_TEMP_VIOLATION", "95 degrees C", "fans"),
    ("row32_lowered_power_limit", ["power_limit = 200000"],
     NOTE, "DCGM_FR_ENFORCED_POWER_LIMIT", "200 W, below the card's 300 W", "nvidia-smi -pl"),
    ("row33_persistence_off", ["persistence = 0"],
     NOTE, "DCGM_FR_PERSISTENCE_MODE", "persistence mode is off", "nvidia-smi -pm 1"),
    ("row34_foreign_process", ["processes = 4711:1073741824"],
     INCONCLUSIVE, "DCGM_FR_GRAPHICS_PROCESSES", "pid 4711", "wait until the GPU is free"),
    ("row34_hidden_process", ["used = 8589934592"],
     INCONCLUSIVE, "DCGM_FR_GRAPHICS_PROCESSES", "8192 MiB are taken by a process that a container hides", "wait"),
    ("row34_process_list_forbidden", ["nvmlDeviceGetComputeRunningProcesses_v3 = rc 4"],
     NOTE, "DCGM_FR_API_FAIL_GPU", "NVML does not say who computes on the GPU (NO_PERMISSION)", "nvidia-smi"),
    ("row35_exclusive_and_busy", ["compute_mode = 3", "processes = 4711:-"],
     INFRA, "DCGM_FR_CUDA_CONTEXT", "EXCLUSIVE_PROCESS and another process", "nvidia-smi -c DEFAULT"),
    ("row35_exclusive", ["compute_mode = 3"],
     NOTE, "DCGM_FR_CUDA_CONTEXT", "cannot run as a live pair", "nvidia-smi -c DEFAULT"),
    ("row35_prohibited", ["compute_mode = 2"],
     INFRA, "DCGM_FR_CUDA_CONTEXT", "PROHIBITED", "nvidia-smi -c DEFAULT"),
    ("row36_mig", ["mig = 1", "nvmlDeviceGetUtilizationRates = rc 3"],
     NOTE, "MIG_MODE", "MIG is on", "same MIG layout"),
    ("row41_narrow_pcie_link", ["pcie_width = 8"],
     NOTE, "DCGM_FR_PCIE_WIDTH", "8 of 16 lanes", "reseat"),
    ("row41_pcie_replays", ["pcie_replays = 7"],
     NOTE, "DCGM_FR_PCI_REPLAY_RATE", "7 PCIe replay(s)", "reseat"),
]  # fmt: skip


def checked() -> tuple[Problem, ...]:
    return health.check(hardware.probe(), profiles.load("a40"))


@pytest.fixture(scope="module")
def states() -> dict[str, tuple[Problem, ...]]:
    """The problems of every state, each on a GPU of its own, from one probe."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        fake = FakeNvml(Path(folder), patch)
        fake.write(f"count = {len(STATES)}", *(f"{i}.{line}" for i, state in enumerate(STATES) for line in state[1]))
        problems = checked()
    return {
        state[0]: tuple(problem for problem in problems if problem.where.startswith(f"GPU {i} ("))
        for i, state in enumerate(STATES)
    }


@pytest.mark.parametrize(("row", "status", "code", "cause", "next_step"), [(s[0], *s[2:]) for s in STATES])
def test_state(  # noqa: PLR0917
    states, row, status, code, cause, next_step
):
    problems = states[row]
    assert (problems[0].status, problems[0].code) == (status, code)
    # Who holds the GPU in exclusive mode is a foreign process besides.
    assert len(problems) == (2 if row == "row35_exclusive_and_busy" else 1)
    assert cause in problems[0].cause
    assert next_step in problems[0].next_step
    assert health.worst(problems) == (problems[0] if status else None)


def test_healthy_machine_has_no_problem(fake_nvml):
    machine = hardware.probe()
    assert health.check(machine, profiles.load("a40")) == ()
    hardware.match(profiles.load("a40"), machine, environ={})
    assert profiles.auto(machine)[0].name == "a40"


def test_no_state_is_ever_a_regression():
    assert {state[2] for state in STATES} == {INFRA, INCONCLUSIVE, NOTE}
    assert len(STATES) >= 25


def test_worst_problem_comes_first(fake_nvml):
    fake_nvml.write("0.persistence = 0", "1.ecc_uncorrected = 1", "1.throttle = 8")
    problems = checked()
    assert [problem.status for problem in problems] == [INFRA, INCONCLUSIVE, NOTE]
    assert health.worst(problems) == problems[0]
    assert problems[0].where == "GPU 1 (GPU-00000001-aaaa-bbbb-cccc-dddddddddddd)"


def test_own_workers_are_no_foreign_processes(fake_nvml):
    fake_nvml.write("processes = 4711:1024 4712:1024")
    machine = hardware.probe()
    assert health.check(machine, profiles.load("a40"), own={4711, 4712}) == ()


def test_row34_processes_of_another_pid_namespace_may_be_our_own(fake_nvml):
    fake_nvml.write("0.processes = 999999999:1024")
    (problem,) = health.check(hardware.probe(), profiles.load("a40"), own={os.getpid()})
    assert problem.status is NOTE
    assert "cannot be told from inside this container" in problem.cause
    (problem,) = health.check(hardware.probe(), profiles.load("a40"))
    assert problem.status == INCONCLUSIVE


def test_row34_our_own_memory_is_not_hidden_from_us(fake_nvml):
    fake_nvml.write("0.used = 8589934592")
    assert health.check(hardware.probe(), profiles.load("a40"), own={os.getpid()}) == ()


# --- the driver -----------------------------------------------------------------------------------------------------

DRIVER_FAULTS = [
    ("row24_driver_not_loaded", "9", "DRIVER_NOT_LOADED", "installed but not loaded", "modprobe nvidia"),
    ("row25_version_mismatch", "18", "LIB_RM_VERSION_MISMATCH", "different versions", "reboot"),
    ("row24_no_permission", "4", "NO_PERMISSION", "may not talk to the NVIDIA driver", "/dev/nvidia*"),
    ("row24_unknown", "999", "UNKNOWN", "NVML did not start: UNKNOWN", "reboot"),
]


@pytest.mark.parametrize(
    ("code", "fault", "cause", "step"),
    [fault[1:] for fault in DRIVER_FAULTS],
    ids=[fault[0] for fault in DRIVER_FAULTS],
)
def test_driver_fault(fake_nvml, code, fault, cause, step):
    fake_nvml.write(f"nvmlInitWithFlags = rc {code}")
    machine = hardware.probe()
    assert machine.driver.fault == fault
    (problem,) = health.check(machine, profiles.load("a40"))
    assert (problem.status, problem.code, problem.where) == (INFRA, fault, "driver")
    assert cause in problem.cause
    assert step in problem.next_step
    with pytest.raises(InfraError) as caught:
        hardware.match(profiles.load("a40"), machine, environ={})
    assert cause in str(caught.value)
    assert f"NVML: {fault}" in str(caught.value)
    assert "2 x NVIDIA A40" in str(caught.value)


def test_row24_no_nvml_library(monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    machine = hardware.probe()
    if machine.driver.fault is None:
        pytest.skip("this machine has a real NVIDIA driver")
    assert machine.driver.fault == "LIBRARY_NOT_FOUND"
    with pytest.raises(InfraError, match=r"libnvidia-ml\.so\.1 cannot be opened"):
        hardware.match(profiles.load("h200"), machine, environ={})
    assert profiles.auto(machine) == (profiles.load("cpu"), "no GPU found (NVML: LIBRARY_NOT_FOUND)")


def test_row38_probe_hangs(fake_nvml):
    fake_nvml.write("nvmlDeviceGetMemoryInfo_v2 = hang 60")
    began = time.monotonic()
    machine = hardware.probe(deadline_s=1.0)
    assert time.monotonic() - began < 10
    assert machine.driver.fault == "PROBE_TIMEOUT"
    (problem,) = health.check(machine, profiles.load("a40"))
    assert problem.status == INFRA
    assert "NVML hung" in problem.cause
    assert "dmesg" in problem.next_step


def test_row28_probe_crashes(fake_nvml):
    fake_nvml.write("nvmlDeviceGetUUID = segv")
    machine = hardware.probe()
    assert machine.driver.fault == "PROBE_CRASHED"
    assert health.check(machine, profiles.load("a40"))[0].status == INFRA


def test_old_driver_lacks_newer_functions(fake_nvml):
    fake_nvml.build(
        without=["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetFieldValues"]
    )
    fake_nvml.write("throttle = 8")
    machine = hardware.probe()
    gpu = machine.gpus[0]
    assert gpu.memory_mib == 46068
    assert gpu.memory_reserved_mib is None
    assert gpu.recovery_action is None
    assert gpu.unavailable["nvmlDeviceGetFieldValues"] == "FUNCTION_NOT_FOUND"
    assert [problem.code for problem in health.check(machine, profiles.load("a40"))] == [
        "DCGM_FR_THROTTLING_VIOLATION"
    ] * 2


# --- match against the profile --------------------------------------------------------------------------------------


def mismatch(error: type[Exception], profile: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(error) as caught:
        hardware.match(profiles.load(profile), hardware.probe(), environ=environ or {})
    return str(caught.value)


def test_row26_another_gpu(fake_nvml):
    fake_nvml.write("name = NVIDIA H100 80GB HBM3")
    message = mismatch(ConfigError, "a40")
    assert "this machine is not the server profile 'a40'" in message
    assert "got:      name: 2 x NVIDIA H100 80GB HBM3" in message
    assert "expected: name: NVIDIA A40" in message
    assert "a100-80gb, a40, cpu, h200, rtx6000-ada" in message


def test_row26_another_memory_size(fake_nvml):
    fake_nvml.write("1.memory = 25769803776")
    assert "memory: GPU 1: 24.0 GiB" in mismatch(ConfigError, "a40")


def test_row26_mig_mode(fake_nvml):
    fake_nvml.write("0.mig = 1")
    assert "MIG: GPU 0: on" in mismatch(ConfigError, "a40")


def test_row27_fewer_gpus(fake_nvml):
    fake_nvml.write("count = 1")
    message = mismatch(InfraError, "a40")
    assert "too few GPUs" in message
    assert "count: 1 GPU(s)" in message
    assert "expected: count: 2 GPU(s)" in message
    assert "dmesg" in message


def test_row27_no_gpu_at_all(fake_nvml):
    fake_nvml.write("count = 0")
    message = mismatch(InfraError, "a40")
    assert "got:      count: 0 GPU(s)" in message


def test_row27_more_gpus_is_another_server(fake_nvml):
    fake_nvml.write("count = 4")
    assert "count: 4 GPU(s)" in mismatch(ConfigError, "a40")


def test_row37_mixed_cards_by_index_are_ambiguous(fake_nvml):
    fake_nvml.write("1.name = NVIDIA H200")
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in mismatch(ConfigError, "a40", {"CUDA_VISIBLE_DEVICES": "1"})


def test_row37_visible_by_uuid_and_order(fake_nvml):
    fake_nvml.write("1.name = NVIDIA H200")
    machine = hardware.probe()
    assert hardware.check_visible(machine, {"CUDA_VISIBLE_DEVICES": "GPU-00000001,GPU-00000000"}) == (1, 0)
    ordered = {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert hardware.check_visible(machine, ordered) == (1,)
    assert hardware.check_visible(machine, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) == (0, 1)
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in mismatch(ConfigError, "a40")


def test_row37_visible_gpu_is_not_there(fake_nvml):
    message = mismatch(ConfigError, "a40", {"CUDA_VISIBLE_DEVICES": "7"})
    assert "names a GPU that is not there" in message
    assert "got:      '7'" in message


def test_row37_cases_run_on_the_first_gpu_that_cuda_sees(fake_nvml):
    machine = hardware.probe()
    assert hardware.measured_gpu(machine, environ={}) == machine.gpus[0]
    assert hardware.measured_gpu(machine, environ={"CUDA_VISIBLE_DEVICES": "1"}) == machine.gpus[1]
    assert hardware.measured_gpu(machine, environ={"CUDA_VISIBLE_DEVICES": "GPU-00000001,0"}) == machine.gpus[1]
    assert hardware.measured_gpu(machine, environ={"CUDA_VISIBLE_DEVICES": ""}) is None


def test_row37_an_instance_is_measured_on_its_card(fake_nvml):
    fake_nvml.write("1.mig = 1")
    machine = hardware.probe()
    assert hardware.measured_gpu(machine, environ={"CUDA_VISIBLE_DEVICES": "MIG-1234"}) == machine.gpus[1]
    fake_nvml.write("mig = 1")
    with pytest.raises(ConfigError, match="names a GPU that is not there"):
        hardware.check_visible(hardware.probe(), {"CUDA_VISIBLE_DEVICES": "MIG-1234"})


def test_row37_no_visible_gpu(fake_nvml):
    message = mismatch(ConfigError, "a40", {"CUDA_VISIBLE_DEVICES": ""})
    assert "CUDA programs do not see a GPU of the server profile 'a40' first" in message
    assert "on 2 x NVIDIA A40" in message
    assert "nvidia-smi -L" in message


def test_row37_a_card_of_another_kind_comes_first(fake_nvml):
    fake_nvml.write("count = 3", "0.name = NVIDIA T1000")
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert "do not see a GPU of the server profile 'a40' first" in mismatch(ConfigError, "a40", order)
    hardware.match(profiles.load("a40"), hardware.probe(), environ={**order, "CUDA_VISIBLE_DEVICES": "1,2"})


def test_another_gpu_than_the_measured_one_blocks_nothing(fake_nvml):
    fake_nvml.write("1.ecc_uncorrected = 1", "1.processes = 4711:-")
    machine = hardware.probe()
    problems = health.check(machine, profiles.load("a40"), on=[0])
    assert {problem.status for problem in problems} == {NOTE}
    assert health.worst(problems) is None
    assert health.worst(health.check(machine, profiles.load("a40"), on=[1])).status == INFRA


# --- while a case runs ----------------------------------------------------------------------------------------------


def sampled(seconds: float) -> dict[str, float | None]:
    with Sampler.start([os.getpid()], UUID, deadline_s=0.3) as sampler:
        wait_for_rows([sampler])
        started = time.monotonic_ns()
        time.sleep(seconds)
        return sampler.window(started, time.monotonic_ns())


WINDOWS = [
    ("row28_lost_mid_run", ["nvmlDeviceGetTemperature = rc 15 after 3"],
     INFRA, "DCGM_FR_FALLEN_OFF_BUS", "while the case ran"),
    ("row29_xid_79", ["xid = 0 79"], INFRA, "DCGM_FR_FALLEN_OFF_BUS", "Xid 79: the GPU has fallen off the bus"),
    ("row29_xid_48", ["xid = 0 48"], INFRA, "DCGM_FR_XID_ERROR", "Xid 48: an uncorrectable"),
    ("row29_xid_95", ["xid = 0 95"], INFRA, "DCGM_FR_UNCONTAINED_ERROR", "Xid 95"),
    ("row29_xid_63_is_noted", ["xid = 0 63"], NOTE, "DCGM_FR_XID_ERROR", "Xid 63"),
    ("row29_ecc_rises", ["ecc_uncorrected = ramp 0 4"], INFRA, "DCGM_FR_VOLATILE_DBE_DETECTED", "uncorrectable ECC"),
    ("row31_thermal_mid_run", ["throttle = " + "0 " * 9 + "64"],
     INCONCLUSIVE, "DCGM_FR_CLOCK_THROTTLE_THERMAL", "hw_thermal"),
    ("row32_power_cap_is_normal", ["throttle = 4"], NOTE, "DCGM_FR_CLOCK_THROTTLE_POWER", "100 % of the time"),
    ("row34_neighbour_mid_run", ["processes = 1:1048576"],
     INCONCLUSIVE, "DCGM_FR_GRAPHICS_PROCESSES", "1 other process"),
    ("memory_leak", ["used = ramp 0 200000000"], NOTE, "MEMORY_GROWTH", "GPU memory grew by"),
    ("pcie_bound", ["pcie_rx = ramp 0 28000000000"], NOTE, "PCIE_BOUND", "transfer-bound"),
]  # fmt: skip


@pytest.fixture(scope="module")
def windows() -> dict[str, tuple[Problem, ...]]:
    """What happened in every window, all sampled at once by samplers of their own."""
    with ExitStack() as stack:
        samplers = {}
        for row, script, *_ in WINDOWS:
            with pytest.MonkeyPatch.context() as own:
                FakeNvml(Path(stack.enter_context(tempfile.TemporaryDirectory())), own).write("count = 1", *script)
                samplers[row] = stack.enter_context(Sampler.start([os.getpid()], UUID, hz=5))
        wait_for_rows(samplers.values())
        started = time.monotonic_ns()
        time.sleep(2.5)
        ended = time.monotonic_ns()
        return {
            row: incidents.watch(sampler.window(started, ended), where="GPU 0") for row, sampler in samplers.items()
        }


def wait_for_rows(samplers: Iterable[Sampler]) -> None:
    """Wait until each sampler has written its first row."""
    deadline = time.monotonic() + 20
    for sampler in samplers:
        while not sampler.window(0, time.monotonic_ns())["samples"]:
            assert time.monotonic() < deadline, "a sampler does not start"
            time.sleep(0.05)


@pytest.mark.parametrize(("row", "status", "code", "cause"), [(window[0], *window[2:]) for window in WINDOWS])
def test_window(windows, row, status, code, cause):
    # How noisy this host is, and whether it was too busy to sample, is beside the point here.
    noise = ("HOST_NOISE", "DCGM_FR_CANNOT_GET_STAT")
    problems = [problem for problem in windows[row] if problem.code not in noise]
    assert [(problem.status, problem.code) for problem in problems] == [(status, code)]
    assert cause in problems[0].cause
    assert problems[0].next_step


def test_row32_power_cap_that_the_baseline_did_not_have():
    (problem,) = incidents.watch({"throttle_sw_power_cap_pct": 40.0}, where="GPU 0", allowed=())
    assert problem.status == INCONCLUSIVE
    assert "clocks were held down 40 % of the time: sw_power_cap" in problem.cause


def test_row36_unavailable_is_none_and_never_zero(fake_nvml):
    fake_nvml.write("count = 1", "nvmlDeviceGetUtilizationRates = rc 3", "energy = none", "pcie_tx = none")
    fake_nvml.build(without=["nvmlDeviceGetTotalEnergyConsumption"])
    window = sampled(1.0)
    assert window["gpu_utilisation_pct"] is None
    assert window["energy_j"] is None
    assert window["pcie_tx_mib"] is None
    assert window["pcie_rx_mib"] == 0
    assert window["power_w"] == 90


def test_row38_one_call_hangs_and_the_others_go_on(fake_nvml):
    fake_nvml.write("count = 1", "nvmlDeviceGetTemperature = hang 60 after 2", "utilisation = 70")
    with Sampler.start([], UUID, deadline_s=0.3) as sampler:
        wait_for_rows([sampler])
        time.sleep(1.5)
        started = time.monotonic_ns()
        time.sleep(1.0)
        window = sampler.window(started, time.monotonic_ns())
    assert sampler.hung == ["nvmlDeviceGetTemperature"]
    assert window["temperature_max_c"] is None
    assert window["gpu_utilisation_pct"] == 70
    assert not sampler.is_alive


def test_row39_sampler_dies(fake_nvml):
    fake_nvml.write("count = 1", "utilisation = 70")
    with Sampler.start([], UUID) as sampler:
        wait_for_rows([sampler])
        started = time.monotonic_ns()
        time.sleep(0.4)
        os.kill(sampler.pid, signal.SIGKILL)
        time.sleep(1.0)
        window = sampler.window(started, time.monotonic_ns())
    assert window["missed_pct"] > 20
    assert window["gpu_utilisation_pct"] is None
    (problem,) = [found for found in incidents.watch(window, where="GPU 0") if found.code == "DCGM_FR_CANNOT_GET_STAT"]
    assert problem.status is NOTE
    assert "latency stands" in problem.next_step


START_AND_LEAVE = """
import os
from pytest_gpuperf.telemetry import Sampler

print(Sampler.start([]).pid, flush=True)
os._exit(0)
"""


def test_sampler_does_not_outlive_its_parent(fake_nvml):
    parent = subprocess.run(
        [sys.executable, "-c", START_AND_LEAVE],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    pid, deadline = int(parent.stdout), time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


# --- the environment ------------------------------------------------------------------------------------------------


def test_row42_environment_that_slows_cuda_down():
    (problem,) = health.environment({"CUDA_LAUNCH_BLOCKING": "1", "CUDA_PROFILE": "0", "HOME": "/root"})
    assert problem.code == "DCGM_FR_BAD_CUDA_ENV"
    assert problem.cause == "CUDA_LAUNCH_BLOCKING=1 changes how fast CUDA runs; no baseline is written"
    assert problem.next_step == "unset CUDA_LAUNCH_BLOCKING"
    assert health.environment({"CUDA_LAUNCH_BLOCKING": "0"}) == ()


def test_gpu_states_do_not_matter_on_the_cpu_profile(fake_nvml):
    fake_nvml.write("ecc_uncorrected = 3")
    machine = hardware.probe()
    assert health.check(machine, profiles.load("cpu")) == ()
    hardware.match(profiles.load("cpu"), replace(machine, gpus=()), environ={})
