"""What this machine is: probe it, take its fingerprint, match it against a server profile."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from pytest_gpuperf import nvml
from pytest_gpuperf.errors import ConfigError, InfraError
from pytest_gpuperf.profiles import ServerProfile, found_gpus, is_named, known, mismatches
from pytest_gpuperf.records import Fingerprint
from pytest_gpuperf.records.machine import Cpu, Driver, Gpu, Machine

__all__ = ["Machine", "check_visible", "driver_error", "fingerprint", "match", "measured_gpu", "probe"]

#: CPU flags by which inference libraries choose their kernels; two CPUs that differ here differ in speed.
INSTRUCTIONS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
                "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve")  # fmt: skip


def probe(*, deadline_s: float = 20.0) -> Machine:
    """Find out what this machine is; never raises for a missing or sick GPU, which is then in the record."""
    driver, gpus = nvml.read(deadline_s=deadline_s)
    cpu = Cpu(model=_cpu_model(), cores=_cores(), memory_mib=_memory_mib(), instructions=_instructions())
    system = f"{platform.system()} {platform.machine()}"
    return Machine(id=_machine_id(gpus), system=system, cpu=cpu, driver=driver, gpus=gpus)


def fingerprint(machine: Machine | None = None, profile: ServerProfile | None = None) -> Fingerprint:
    """Return what numbers depend on; the GPU's part only where the profile runs on GPUs.

    Args:
        machine: as probed; probed now when left out.
        profile: whose device decides whether GPUs belong to the fingerprint; without one they do if there are any.
    """
    machine = machine or probe()
    hardware = {
        "cpu": machine.cpu.model,
        "cores": str(machine.cpu.cores),
        "instructions": " ".join(machine.cpu.instructions),
    }
    software = {"python": platform.python_version(), "system": machine.system}
    if machine.gpus and (profile is None or profile.is_gpu):
        limits = sorted({f"{gpu.power_limit_w:.0f}" for gpu in machine.gpus if gpu.power_limit_w is not None})
        capabilities = sorted({gpu.compute_capability for gpu in machine.gpus if gpu.compute_capability})
        hardware |= {
            "gpu": found_gpus(machine),
            "compute_capability": " ".join(capabilities),
            "power_limit_w": " ".join(limits),
        }
        software |= {"driver": machine.driver.version or "unknown", "cuda_driver": machine.driver.cuda or "unknown"}
    return Fingerprint(machine=machine.id, hardware=hardware, software=software)


def match(profile: ServerProfile, machine: Machine, *, environ: Mapping[str, str] = os.environ) -> None:
    """Check that the machine is the profile's, before any engine is imported.

    Raises:
        ConfigError: another kind of GPU, memory size or MIG mode; or ``CUDA_VISIBLE_DEVICES`` names what is not there.
        InfraError: no driver, NVML hangs, or fewer GPUs than the profile says.
    """
    if not profile.is_gpu:
        return
    if machine.driver.fault:
        raise driver_error(machine.driver, expected=_expected(profile))
    gpu = measured_gpu(machine, environ=environ)
    found = mismatches(profile, machine)
    if machine.gpus and not found and (gpu is None or not is_named(profile, gpu)):
        raise ConfigError(
            f"CUDA programs do not see a GPU of the server profile {profile.name!r} first",
            got=f"CUDA_VISIBLE_DEVICES={environ.get('CUDA_VISIBLE_DEVICES')} on {found_gpus(machine)}",
            expected=_expected(profile),
            hint="set CUDA_VISIBLE_DEVICES to the UUID of the GPU to measure (nvidia-smi -L)",
        )
    if machine.gpus and not found:
        return
    lines = "; ".join(f"{mismatch.what}: {mismatch.found}" for mismatch in found) or "no GPU"
    wanted = "; ".join(f"{mismatch.what}: {mismatch.expected}" for mismatch in found) or _expected(profile)
    if not machine.gpus or (len(found) == 1 and found[0].what == "count" and _is_short(profile, machine)):
        raise InfraError(
            f"this machine has too few GPUs for the server profile {profile.name!r}",
            got=lines,
            expected=wanted,
            hint="look for a card that fell off the bus (dmesg | grep -i xid), then drain this runner",
        )
    raise ConfigError(
        f"this machine is not the server profile {profile.name!r}",
        got=lines,
        expected=wanted,
        hint=f"use --gpu-profile=auto, one of {', '.join(known())}, or write one: gpuperf profiles new",
    )


def driver_error(driver: Driver, *, expected: str) -> InfraError:
    """Return the error for a driver that did not start."""
    cause, next_step = nvml.explain(driver.fault or "")
    return InfraError(cause, got=f"NVML: {driver.fault}", expected=expected, hint=next_step)


def check_visible(machine: Machine, environ: Mapping[str, str]) -> tuple[int, ...]:
    """Return NVML indices of the GPUs that CUDA programs will see, in CUDA's order.

    CUDA's own order (fastest first) is NVML's (PCI bus) order unless cards of different kinds are mixed. Of a MIG
    instance the card is returned that has MIG on.

    Raises:
        ConfigError: ``CUDA_VISIBLE_DEVICES`` names a GPU that is not there, or its meaning is ambiguous.
    """
    listed = environ.get("CUDA_VISIBLE_DEVICES")
    everything = [str(gpu.index) for gpu in machine.gpus]
    entries = everything if listed is None else [entry.strip() for entry in listed.split(",") if entry.strip()]
    is_mixed = len({gpu.name for gpu in machine.gpus if gpu.name}) > 1
    if is_mixed and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and any(entry.isdigit() for entry in entries):
        raise ConfigError(
            "CUDA counts GPUs in an order of its own, which differs from the bus order when cards are mixed",
            got=f"CUDA_VISIBLE_DEVICES={listed} on {found_gpus(machine)}",
            hint="set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs by UUID (nvidia-smi -L)",
        )
    by_entry = {str(gpu.index): gpu.index for gpu in machine.gpus}
    visible = []
    for entry in entries:
        prefixes = [gpu.index for gpu in machine.gpus if gpu.uuid and gpu.uuid.startswith(entry)]
        index = by_entry.get(entry, prefixes[0] if len(prefixes) == 1 else None)
        if index is None and entry.startswith("MIG-"):
            parents = [gpu.index for gpu in machine.gpus if gpu.is_mig]
            index = parents[0] if len(parents) == 1 else None
        if index is None:
            raise ConfigError(
                "CUDA_VISIBLE_DEVICES names a GPU that is not there",
                got=repr(entry),
                expected=f"one of {', '.join(by_entry)}, or a UUID of nvidia-smi -L",
            )
        visible.append(index)
    return tuple(visible)


def measured_gpu(machine: Machine, *, environ: Mapping[str, str] = os.environ) -> Gpu | None:
    """Return the GPU that cases run on: the first that CUDA programs see; ``None`` where they see none.

    Raises:
        ConfigError: see :func:`check_visible`.
    """
    visible = check_visible(machine, environ)
    return next((gpu for gpu in machine.gpus if visible and gpu.index == visible[0]), None)


def _expected(profile: ServerProfile) -> str:
    least, most = profile.match.count
    return f"{least if least == most else f'{least} to {most}'} x {' or '.join(profile.match.names)}"


def _is_short(profile: ServerProfile, machine: Machine) -> bool:
    return len(machine.gpus) < profile.match.count[0]


def _machine_id(gpus: tuple[Gpu, ...]) -> str:
    """Return a hash that is the same after a reboot, differs between machines, and carries no host name.

    GPU UUIDs tell servers apart even from inside a container. Without them the host's machine id does, except where it
    was copied with an image: there a boot counts as a machine, since calling two machines the same would compare
    numbers that cannot be compared, while the opposite mistake only compares fewer.
    """
    parts = sorted(gpu.uuid for gpu in gpus if gpu.uuid) or [_read("/etc/machine-id").strip() or platform.node()]
    if not gpus and (Path("/.dockerenv").exists() or not Path("/sys/class/dmi/id/sys_vendor").exists()):
        parts.append(_read("/proc/sys/kernel/random/boot_id").strip())
    return hashlib.sha256(" ".join(["pytest-gpuperf", *parts]).encode()).hexdigest()[:16]


def _cpu_model() -> str:
    for key in ("model name", "Model", "CPU part"):
        if value := _cpuinfo(key):
            family = "/".join(filter(None, (_cpuinfo("cpu family"), _cpuinfo("model"))))
            # Virtual machines blank the model name ("AMD EPYC"): family and model tell generations apart.
            return f"{value} ({family})" if family else value
    return platform.processor() or platform.machine()


def _instructions() -> tuple[str, ...]:
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    return tuple(sorted(flags.intersection(INSTRUCTIONS)))


def _cpuinfo(key: str) -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_mib() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
