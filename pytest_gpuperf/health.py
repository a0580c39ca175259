"""Whether this machine can be trusted with a measurement: bad states → verdict, cause in DCGM's words, next step.

Codes that start with ``DCGM_FR_`` are those of DCGM's ``dcgm_errors.h``, so that a reader can look them up and feed
them to the tools that their fleet already has; the others are NVML's names, where DCGM has no word for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuperf import nvml
from pytest_gpuperf.errors import InfraError
from pytest_gpuperf.profiles import ServerProfile
from pytest_gpuperf.records import Status
from pytest_gpuperf.records.machine import Gpu, Machine

RESET = "drain this runner and reset the GPU (nvidia-smi --gpu-reset), then run again"
REPLACE = "take this runner out of service and have the GPU replaced"
COOL = "let it cool down and check fans, airflow and the room, then run again"

#: Clocks event reasons (NVML's bits): name, DCGM's code, next step. All of them spoil a measurement.
THROTTLES = {
    0x08: ("hw_slowdown", "DCGM_FR_THROTTLING_VIOLATION", COOL),
    0x20: ("sw_thermal", "DCGM_FR_CLOCK_THROTTLE_THERMAL", COOL),
    0x40: ("hw_thermal", "DCGM_FR_CLOCK_THROTTLE_THERMAL", COOL),
    0x80: ("power_brake", "DCGM_FR_CLOCK_THROTTLE_POWER", "check the server's power supplies, then run again"),
    0x200: ("board_limit", "DCGM_FR_CLOCK_THROTTLE_POWER", "check power cables and limits, then run again"),
    0x400: ("reliability", "DCGM_FR_CLOCK_THROTTLE_POWER", "check the power supply's voltage, then run again"),
}
#: The software power cap is normal at full load on power-limited cards: a note, unless the baseline had none.
POWER_CAP = 0x04

#: Recovery actions by NVML's value.
RECOVERY = {
    1: ("a GPU reset", RESET),
    2: ("a reboot of the node", "drain and reboot this node, then run again"),
    3: ("draining peer-to-peer work", "stop the jobs that use peer-to-peer copies, then reset the GPU"),
    4: ("drain and reset", RESET),
    5: ("recovery of the IMEX domain", "restart the IMEX domain, then run again"),
    6: ("a bus reset", "drain this runner and reset the GPU's bus, or reboot"),
    7: ("a reboot of the system", "drain and reboot this system, then run again"),
}

#: Variables that slow CUDA down, and the values that do not.
HARMFUL_VARIABLES = {
    "CUDA_LAUNCH_BLOCKING": ("", "0"),
    "CUDA_PROFILE": ("", "0"),
    "COMPUTE_PROFILE": ("", "0"),
    "CUDA_INJECTION64_PATH": ("",),
    "CUDA_ENABLE_COREDUMP_ON_EXCEPTION": ("", "0"),
    "CUDA_DEVICE_WAITS_ON_EXCEPTION": ("", "0"),
    "NVIDIA_TF32_OVERRIDE": ("",),
}

COMPUTE_EXCLUSIVE, COMPUTE_PROHIBITED = 3, 2
RETIRED_PAGES_LIMIT = 60  # DCGM's threshold; NVIDIA replaces cards from there on
HOT_C = 90
HIDDEN_MIB = 1024  # a context of a process that NVML cannot see takes some hundred MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One bad state of the machine.

    Attributes:
        status: verdict that it leads to; ``None`` = only noted.
        code: DCGM's (or NVML's) name, to be looked up.
        cause: what is wrong, in words, with the value.
        next_step: what to do about it.
        where: ``GPU 0 (UUID)``, ``driver``, ``host`` or ``environment``.
    """

    status: Status | None
    code: str
    cause: str
    next_step: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.cause} [{self.code}]; next: {self.next_step}"


Gate = Callable[[Gpu], Iterator[tuple[Status | None, str, str, str]]]


def check(
    machine: Machine, profile: ServerProfile, *, on: Collection[int] | None = None, own: Collection[int] = ()
) -> tuple[Problem, ...]:
    """Return what is wrong with the machine before (or between) measurements, worst first.

    Args:
        machine: as just probed.
        profile: only a GPU profile makes GPU states matter.
        on: indices of the GPUs that cases run on; what is wrong with the others is only noted. ``None`` = all of them.
        own: pids of this session's own workers, which are no foreign processes.
    """
    if not profile.is_gpu:
        return ()
    if machine.driver.fault:
        cause, next_step = nvml.explain(machine.driver.fault)
        problem = Problem(
            status=Status.INFRA, code=machine.driver.fault, cause=cause, next_step=next_step, where="driver"
        )
        return (problem,)
    found = [
        Problem(
            status=status if on is None or gpu.index in on else None,
            code=code,
            cause=cause,
            next_step=next_step,
            where=f"GPU {gpu.index} ({gpu.uuid})",
        )
        for gpu in machine.gpus
        for gate in ((_card,) if gpu.fault else (*_GATES, lambda gpu: _neighbours(gpu, own)))
        for status, code, cause, next_step in gate(gpu)
    ]
    return tuple(sorted(found, key=badness))


def environment(environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """Return the environment variables that change CUDA's speed; baselines must not be written under them."""
    return tuple(
        Problem(
            status=None,
            code="DCGM_FR_BAD_CUDA_ENV",
            cause=f"{name}={environ[name]} changes how fast CUDA runs; no baseline is written",
            next_step=f"unset {name}",
            where="environment",
        )
        for name, harmless in HARMFUL_VARIABLES.items()
        if environ.get(name, "") not in harmless
    )


def worst(problems: Collection[Problem]) -> Problem | None:
    """Return the problem that decides the verdict; ``None`` when all are notes."""
    deciding = [problem for problem in problems if problem.status is not None]
    return min(deciding, key=badness, default=None)


def refuse(problems: Collection[Problem]) -> None:
    """Refuse a machine on which no number would mean anything.

    Raises:
        InfraError: the worst problem, with its cause and the next step.
    """
    found = worst(problems)
    if found is not None and found.status is Status.INFRA:
        raise InfraError(f"{found.where}: {found.cause}", got=found.code, hint=found.next_step)


def throttle_names(mask: int) -> tuple[str, ...]:
    """Return the names of the reasons in NVML's bit mask that lower the clocks."""
    names = [name for bit, (name, _, _) in THROTTLES.items() if mask & bit]
    return tuple(names + ["sw_power_cap"] * bool(mask & POWER_CAP))


def badness(problem: Problem) -> int:
    """Return the sorting key that puts the worst problem first."""
    return [Status.INFRA, Status.CONFIG, Status.INCONCLUSIVE, None].index(problem.status)


def _card(gpu: Gpu) -> Iterator[tuple[Status | None, str, str, str]]:
    if gpu.fault == "GPU_IS_LOST":
        yield Status.INFRA, "DCGM_FR_FALLEN_OFF_BUS", "the GPU has fallen off the bus", "power-cycle this machine"
    elif gpu.fault == "RESET_REQUIRED":
        yield Status.INFRA, "RESET_REQUIRED", "the GPU answers nothing until it is reset", RESET
    elif gpu.fault:
        yield Status.INFRA, "DCGM_FR_API_FAIL_GPU", f"NVML cannot read the GPU: {gpu.fault}", RESET
    if gpu.recovery_action:
        action, step = RECOVERY.get(gpu.recovery_action, (f"recovery action {gpu.recovery_action}", RESET))
        yield Status.INFRA, "GPU_RECOVERY_ACTION", f"the driver asks for {action}", step


def _memory_errors(gpu: Gpu) -> Iterator[tuple[Status | None, str, str, str]]:
    if gpu.ecc_uncorrected:
        cause = f"{gpu.ecc_uncorrected} uncorrectable ECC error(s) since the driver was loaded"
        yield Status.INFRA, "DCGM_FR_VOLATILE_DBE_DETECTED", cause, RESET
    if gpu.has_remap_failed:
        yield Status.INFRA, "DCGM_FR_ROW_REMAP_FAILURE", "row remapping failed", REPLACE
    if gpu.is_remap_pending:
        yield Status.INFRA, "DCGM_FR_PENDING_ROW_REMAP", "row remapping is pending", RESET
    if gpu.is_retirement_pending:
        yield Status.INFRA, "DCGM_FR_PENDING_PAGE_RETIREMENTS", "page retirements are pending", RESET
    if gpu.retired_pages is not None and gpu.retired_pages >= RETIRED_PAGES_LIMIT:
        yield Status.INFRA, "DCGM_FR_RETIRED_PAGES_LIMIT", f"{gpu.retired_pages} memory pages are retired", REPLACE
    if gpu.ecc_corrected:
        cause = f"{gpu.ecc_corrected} corrected ECC error(s) since the driver was loaded"
        yield None, "DCGM_FR_VOLATILE_SBE_DETECTED", cause, "watch whether the number rises"
    if gpu.has_ecc is False:
        yield None, "DCGM_FR_ECC_DISABLED", "ECC is off, as it must have been for the baseline", "nvidia-smi -e 1"


def _clocks(gpu: Gpu) -> Iterator[tuple[Status | None, str, str, str]]:
    for bit, (name, code, step) in THROTTLES.items():
        if (gpu.throttle or 0) & bit:
            yield Status.INCONCLUSIVE, code, f"clocks are held down: {name}", step
    if gpu.temperature_c is not None and gpu.temperature_c >= HOT_C:
        yield Status.INCONCLUSIVE, "DCGM_FR_TEMP_VIOLATION", f"the GPU is at {gpu.temperature_c:.0f} degrees C", COOL
    if gpu.power_limit_w and gpu.power_default_w and gpu.power_limit_w < gpu.power_default_w:
        cause = f"the power limit is {gpu.power_limit_w:.0f} W, below the card's {gpu.power_default_w:.0f} W"
        yield None, "DCGM_FR_ENFORCED_POWER_LIMIT", cause, "nvidia-smi -pl, unless the baseline had it too"


def _link(gpu: Gpu) -> Iterator[tuple[Status | None, str, str, str]]:
    # The generation drops while the link idles, so only the width means something here; see incidents.py for load.
    if gpu.pcie_width and gpu.pcie_width_max and gpu.pcie_width < gpu.pcie_width_max:
        cause = f"the PCIe link has {gpu.pcie_width} of {gpu.pcie_width_max} lanes, copies take longer"
        yield None, "DCGM_FR_PCIE_WIDTH", cause, "reseat the card or the riser, or use a slot with all lanes"
    if gpu.pcie_replays:
        cause = f"{gpu.pcie_replays} PCIe replay(s) since the driver was loaded"
        yield None, "DCGM_FR_PCI_REPLAY_RATE", cause, "watch whether the number rises; then reseat the card"


def _modes(gpu: Gpu) -> Iterator[tuple[Status | None, str, str, str]]:
    if gpu.compute_mode == COMPUTE_PROHIBITED:
        cause = "compute mode is PROHIBITED: no program may use the GPU"
        yield Status.INFRA, "DCGM_FR_CUDA_CONTEXT", cause, "nvidia-smi -c DEFAULT"
    if gpu.compute_mode == COMPUTE_EXCLUSIVE and gpu.processes:
        cause = "compute mode is EXCLUSIVE_PROCESS and another process has the GPU"
        yield Status.INFRA, "DCGM_FR_CUDA_CONTEXT", cause, "nvidia-smi -c DEFAULT, or wait for the other process"
    elif gpu.compute_mode == COMPUTE_EXCLUSIVE:
        cause = "compute mode is EXCLUSIVE_PROCESS: baseline and candidate cannot run as a live pair"
        yield None, "DCGM_FR_CUDA_CONTEXT", cause, "nvidia-smi -c DEFAULT"
    if gpu.is_persistent is False:
        cause = "persistence mode is off: the first call of a session loads the driver"
        yield None, "DCGM_FR_PERSISTENCE_MODE", cause, "nvidia-smi -pm 1"
    if gpu.is_mig:
        cause = "MIG is on: utilisation and per-process memory are unavailable"
        yield None, "MIG_MODE", cause, "compare only with baselines of the same MIG layout"


def _neighbours(gpu: Gpu, own: Collection[int]) -> Iterator[tuple[Status | None, str, str, str]]:
    wait = "wait until the GPU is free, or stop the other process"
    if gpu.processes is None:
        why = gpu.unavailable.get("nvmlDeviceGetComputeRunningProcesses", "unknown")
        yield None, "DCGM_FR_API_FAIL_GPU", f"NVML does not say who computes on the GPU ({why})", "nvidia-smi"
        return
    foreign = [process.pid for process in gpu.processes if process.pid not in own]
    if own and any(not Path(f"/proc/{pid}").exists() for pid in foreign):
        # Pids from outside the container: our own processes may be among them.
        cause = "who computes on the GPU cannot be told from inside this container"
        yield None, "DCGM_FR_GRAPHICS_PROCESSES", cause, "start the container with --pid=host"
    elif foreign:
        pids = ", ".join(map(str, sorted(foreign)))
        yield Status.INCONCLUSIVE, "DCGM_FR_GRAPHICS_PROCESSES", f"other processes use the GPU: pid {pids}", wait
    elif not own and not gpu.processes and (gpu.memory_used_mib or 0) > HIDDEN_MIB:
        cause = f"{gpu.memory_used_mib:.0f} MiB are taken by a process that a container hides"
        yield Status.INCONCLUSIVE, "DCGM_FR_GRAPHICS_PROCESSES", cause, wait


_GATES: tuple[Gate, ...] = (_card, _memory_errors, _clocks, _link, _modes)
