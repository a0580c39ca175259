"""What a machine is made of, as the probe found it. ``None`` = the machine does not tell."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The host's processor.

    Attributes:
        cores: logical processors that this process may run on.
        instructions: the instruction sets that shape inference speed, sorted.
    """

    model: str
    cores: int
    memory_mib: int
    instructions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that holds a context on a GPU; memory is ``None`` where a container or MIG hides it."""

    pid: int
    memory_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU by NVML. Clocks in MHz, power in W, error counters since the driver was loaded.

    Attributes:
        index: NVML's (PCI bus) order, not CUDA's.
        fault: NVML's error name when the card itself does not answer, such as ``GPU_IS_LOST``; else ``None``.
        recovery_action: NVML's ``GPU_RECOVERY_ACTION`` value, 0 = none needed.
        throttle: bit mask of NVML's clocks event reasons.
        processes: who computes on it; ``None`` where NVML does not say.
        unavailable: NVML calls that gave no value, with NVML's error name.
    """

    index: int
    uuid: str = ""
    name: str = ""
    pci: str = ""
    fault: str | None = None
    memory_mib: float | None = None
    memory_used_mib: float | None = None
    memory_reserved_mib: float | None = None
    compute_capability: str | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    sm_clock_mhz: float | None = None
    sm_clock_max_mhz: float | None = None
    memory_clock_mhz: float | None = None
    memory_clock_max_mhz: float | None = None
    temperature_c: float | None = None
    throttle: int | None = None
    has_ecc: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    retired_pages: int | None = None
    is_retirement_pending: bool | None = None
    is_remap_pending: bool | None = None
    has_remap_failed: bool | None = None
    pcie_gen: int | None = None
    pcie_gen_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_replays: int | None = None
    is_persistent: bool | None = None
    is_mig: bool | None = None
    compute_mode: int | None = None
    recovery_action: int | None = None
    processes: tuple[GpuProcess, ...] | None = None
    unavailable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """NVIDIA's driver as NVML presents it.

    Attributes:
        version: of the driver, such as ``580.95.05``.
        cuda: newest CUDA version that the driver supports, such as ``13.0``.
        fault: NVML's error name when NVML could not start (``LIBRARY_NOT_FOUND``, ``DRIVER_NOT_LOADED``,
            ``LIB_RM_VERSION_MISMATCH`` …) or ``PROBE_TIMEOUT``; else ``None``.
    """

    version: str | None = None
    cuda: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The whole host; ``id`` is a hash, so that reports carry no host name."""

    id: str
    system: str
    cpu: Cpu
    driver: Driver = field(default_factory=Driver)
    gpus: tuple[Gpu, ...] = ()
