"""The only door to NVML: every call guarded, and the probe of driver and GPUs in a process of its own.

NVML can hang for minutes on a sick card, or take its process down. So :func:`read` runs :func:`main` in a child with a
deadline, and the machine is described by what the child managed to say.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from pytest_gpuperf.records.machine import Driver, Gpu, GpuProcess

T = TypeVar("T")

PROBE_TIMEOUT = "PROBE_TIMEOUT"
PROBE_CRASHED = "PROBE_CRASHED"
BINDING_NOT_INSTALLED = "BINDING_NOT_INSTALLED"
#: Errors that mean that the card itself is gone or sick, rather than that a value is not to be had.
CARD_FAULTS = ("GPU_IS_LOST", "RESET_REQUIRED", "IRQ_ISSUE", "INSUFFICIENT_POWER", "CORRUPTED_INFOROM", "UNKNOWN")

#: What to do about a driver that does not start, by NVML's error name: (cause, next step).
_DRIVER_FAULTS = {
    "LIBRARY_NOT_FOUND": (
        "no NVIDIA driver on this machine: libnvidia-ml.so.1 cannot be opened",
        "install the driver, or start the container with --gpus all",
    ),
    "DRIVER_NOT_LOADED": ("the NVIDIA driver is installed but not loaded", "load it: modprobe nvidia (or reboot)"),
    "LIB_RM_VERSION_MISMATCH": (
        "the loaded kernel driver and the NVML library have different versions (an upgrade without a reboot)",
        "reboot, or unload and load the nvidia kernel modules",
    ),
    "NO_PERMISSION": ("this user may not talk to the NVIDIA driver", "check the permissions of /dev/nvidia*"),
    BINDING_NOT_INSTALLED: (
        "nvidia-ml-py is not installed, so GPUs cannot be probed",
        "pip install 'pytest-gpuperf[gpu]'",
    ),
    PROBE_TIMEOUT: (
        "NVML hung: it did not answer before the probe's deadline",
        "look for Xid messages in dmesg, then reboot or drain this machine",
    ),
    PROBE_CRASHED: (
        "the process that probed NVML died",
        "run python -m pytest_gpuperf.nvml to see how, and reinstall the driver",
    ),
}

_MIB = 1024 * 1024


def read(*, deadline_s: float = 20.0) -> tuple[Driver, tuple[Gpu, ...]]:
    """Describe driver and GPUs; never raises, never takes longer than the deadline (plus 1 s).

    Returns:
        The driver (with ``fault`` set when NVML did not start, hung or crashed) and the GPUs in PCI bus order.
    """
    child = subprocess.Popen(  # noqa: S603 - our own module, our own interpreter
        [sys.executable, "-m", __name__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        output, _ = child.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # a process that sits in the driver dies when the driver lets it
            child.wait(timeout=1)
        if child.stdout:
            child.stdout.close()
        return Driver(fault=PROBE_TIMEOUT), ()
    try:
        found = json.loads(output)
    except ValueError:
        return Driver(fault=PROBE_CRASHED), ()
    return Driver(**found["driver"]), tuple(_gpu(values) for values in found["gpus"])


def explain(fault: str) -> tuple[str, str]:
    """Return cause and next step of a driver's fault."""
    return _DRIVER_FAULTS.get(fault, (f"NVML did not start: {fault}", "reboot this machine"))


def main() -> None:
    """Probe in this process and print one JSON object."""
    json.dump(probe(), sys.stdout)


def probe() -> dict[str, Any]:
    """Ask NVML for everything that :class:`Driver` and :class:`Gpu` hold, as plain values."""
    pynvml = binding()
    if pynvml is None:
        return {"driver": {"fault": BINDING_NOT_INSTALLED}, "gpus": []}
    ask = Asker(pynvml)
    ask("nvmlInit")
    if ask.errors:
        return {"driver": {"fault": ask.errors["nvmlInit"]}, "gpus": []}
    cuda = ask("nvmlSystemGetCudaDriverVersion")
    driver = {
        "version": ask("nvmlSystemGetDriverVersion"),
        "cuda": None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        "fault": None,
    }
    return {"driver": driver, "gpus": [_describe(pynvml, index) for index in range(ask("nvmlDeviceGetCount") or 0)]}


def binding() -> Any:
    """Return NVIDIA's ``pynvml`` module, or ``None`` where nvidia-ml-py is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


class Asker:
    """Calls NVML by name; an error is remembered by NVML's name for it and gives ``None``.

    Attributes:
        errors: function → error name (``NOT_SUPPORTED`` …) of calls whose last answer was an error.
        fault: the first error that means that the card itself is sick, such as ``GPU_IS_LOST``.
    """

    def __init__(self, pynvml: Any, *first: object) -> None:
        self._pynvml = pynvml
        self._first = first
        self.errors: dict[str, str] = {}
        self.fault: str | None = None

    def __call__(self, function: str, *args: object, read: Callable[[Any], T] | None = None) -> Any:
        """Call ``function``, put its answer through ``read``; ``None`` when NVML has no answer."""
        try:
            answer = getattr(self._pynvml, function)(*self._first, *args)
        except self._pynvml.NVMLError as error:
            name = error_name(self._pynvml, error.value)
            self.errors[function] = name
            self.fault = self.fault or (name if name in CARD_FAULTS else None)
            return None
        self.errors.pop(function, None)
        return answer if read is None else read(answer)


def error_name(pynvml: Any, code: int) -> str:
    """Return NVML's name of a return code without the ``NVML_ERROR_`` prefix."""
    prefix = "NVML_ERROR_"
    names = [name for name in dir(pynvml) if name.startswith(prefix) and getattr(pynvml, name) == code]
    return names[0].removeprefix(prefix) if names else f"ERROR_{code}"


def _describe(pynvml: Any, index: int) -> dict[str, Any]:
    find = Asker(pynvml)
    handle = find("nvmlDeviceGetHandleByIndex", index)
    if handle is None:
        return {"index": index, "fault": find.errors["nvmlDeviceGetHandleByIndex"]}
    ask = Asker(pynvml, handle)
    gpu = {"index": index, **_identity(ask), **_state(ask, pynvml), **_errors(ask, pynvml)}
    return {**gpu, "fault": ask.fault, "unavailable": ask.errors}


def _identity(ask: Asker) -> dict[str, Any]:
    return {
        "uuid": ask("nvmlDeviceGetUUID") or "",
        "name": ask("nvmlDeviceGetName") or "",
        "pci": ask("nvmlDeviceGetPciInfo", read=lambda info: _text(info.busId)) or "",
        "compute_capability": ask("nvmlDeviceGetCudaComputeCapability", read="{0[0]}.{0[1]}".format),
        "power_default_w": ask("nvmlDeviceGetPowerManagementDefaultLimit", read=_thousandth),
        "pcie_gen_max": ask("nvmlDeviceGetMaxPcieLinkGeneration"),
        "pcie_width_max": ask("nvmlDeviceGetMaxPcieLinkWidth"),
    }


def _state(ask: Asker, pynvml: Any) -> dict[str, Any]:
    memory = ask("nvmlDeviceGetMemoryInfo", pynvml.nvmlMemory_v2)
    if memory is None:  # drivers before 510 have only the first version, which has no reserved part
        memory = ask("nvmlDeviceGetMemoryInfo")
    processes = ask("nvmlDeviceGetComputeRunningProcesses")
    return {
        "memory_mib": memory and memory.total / _MIB,
        "memory_used_mib": memory and memory.used / _MIB,
        "memory_reserved_mib": None if not hasattr(memory, "reserved") else memory.reserved / _MIB,
        "power_limit_w": ask("nvmlDeviceGetEnforcedPowerLimit", read=_thousandth),
        "sm_clock_mhz": ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM),
        "sm_clock_max_mhz": ask("nvmlDeviceGetMaxClockInfo", pynvml.NVML_CLOCK_SM),
        "memory_clock_mhz": ask("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM),
        "memory_clock_max_mhz": ask("nvmlDeviceGetMaxClockInfo", pynvml.NVML_CLOCK_MEM),
        "temperature_c": ask("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        "throttle": throttle_reasons(ask),
        "pcie_gen": ask("nvmlDeviceGetCurrPcieLinkGeneration"),
        "pcie_width": ask("nvmlDeviceGetCurrPcieLinkWidth"),
        "is_persistent": ask("nvmlDeviceGetPersistenceMode", read=bool),
        "is_mig": ask("nvmlDeviceGetMigMode", read=lambda modes: bool(modes[0])),
        "compute_mode": ask("nvmlDeviceGetComputeMode"),
        "processes": None if processes is None else [(process.pid, process.usedGpuMemory) for process in processes],
    }


def _errors(ask: Asker, pynvml: Any) -> dict[str, Any]:
    rows = ask("nvmlDeviceGetRemappedRows")
    pages = [
        ask("nvmlDeviceGetRetiredPages", cause, read=len)
        for cause in (
            pynvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
            pynvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
        )
    ]
    volatile = pynvml.NVML_VOLATILE_ECC
    return {
        "has_ecc": ask("nvmlDeviceGetEccMode", read=lambda modes: bool(modes[0])),
        "ecc_corrected": ask("nvmlDeviceGetTotalEccErrors", pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, volatile),
        "ecc_uncorrected": ask("nvmlDeviceGetTotalEccErrors", pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, volatile),
        "retired_pages": None if None in pages else sum(pages),
        "is_retirement_pending": ask("nvmlDeviceGetRetiredPagesPendingStatus", read=bool),
        "is_remap_pending": rows and bool(rows[2]),
        "has_remap_failed": rows and bool(rows[3]),
        "pcie_replays": ask("nvmlDeviceGetPcieReplayCounter"),
        "recovery_action": field_value(ask, pynvml, pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION),
    }


def throttle_reasons(ask: Asker) -> int | None:
    """Return the clocks event reasons' bit mask, by whichever name the driver knows the call."""
    reasons: int | None = ask("nvmlDeviceGetCurrentClocksEventReasons")
    if reasons is None:  # drivers before 535 know it as throttle reasons
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")
    return reasons


def field_value(ask: Asker, pynvml: Any, field: int) -> int | float | None:
    """Return one NVML field, or ``None`` where this card or driver does not have it."""
    return field_values(ask, pynvml, (field,))[0]


def field_values(ask: Asker, pynvml: Any, fields: tuple[int, ...]) -> list[int | float | None]:
    """Return several NVML fields in one call, ``None`` for those that are not to be had."""
    answers = ask("nvmlDeviceGetFieldValues", list(fields))
    if answers is None:
        return [None] * len(fields)
    members = {
        pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
        pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
        pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
        pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
    }
    return [
        getattr(answer.value, members[answer.valueType]) if answer.nvmlReturn == pynvml.NVML_SUCCESS else None
        for answer in answers
    ]


def _gpu(values: dict[str, Any]) -> Gpu:
    processes = values.pop("processes", None)
    return Gpu(
        **values,
        processes=None
        if processes is None
        else tuple(GpuProcess(pid=pid, memory_mib=used and used / _MIB) for pid, used in processes),
    )


def _thousandth(value: int) -> float:
    return value / 1000


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
