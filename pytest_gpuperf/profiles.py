"""Server profiles: what a server is, which machine it matches, how much drift it allows. One TOML file each.

The shipped files are in ``profiles/``; users give the path of their own. A file is read strictly: an unknown key, a
value of another type or out of range is a :class:`ConfigError` that names file and key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, get_args

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import Tolerance
from pytest_gpuperf.records.machine import Gpu, Machine
from pytest_gpuperf.toml import Table

FOLDER = Path(__file__).with_name("profiles")

Device = Literal["cpu", "gpu"]
Clocks = Literal["default", "locked"]
Peak = Literal["fp32_tflops", "tf32_tflops", "fp16_tflops", "bf16_tflops", "int8_tops", "fp8_tflops", "bandwidth_gbs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which machines a profile is for. ``None`` = any.

    Attributes:
        names: NVML's product names, ``*`` and ``?`` allowed; every GPU in use must match one of them.
        count: fewest and most GPUs.
        memory_gib: least and most memory of each GPU, as NVML reports it (a little below the printed size).
        mig: whether the GPUs must (or must not) be in MIG mode.
    """

    device: Device
    names: tuple[str, ...] = ()
    count: tuple[int, int] = (0, 0)
    memory_gib: tuple[float, float] | None = None
    mig: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One way in which a machine is not the profile's."""

    what: Literal["name", "count", "memory", "MIG"]
    found: str
    expected: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProfile:
    """A server as its profile file describes it.

    Attributes:
        match: rules that the machine at hand must satisfy.
        batches: batch sizes by model name; ``default`` for models not named.
        tolerance: allowed drift from the baseline per metric, percent.
        peaks: one GPU's ceilings, dense: TFLOP/s (TOP/s) per precision and ``bandwidth_gbs`` in GB/s.
        peaks_source: where the ceilings were read.
        server: the rest of the server as published (CPU, cores, memory, network): context, never checked.
        power_limit_w: what ``power.limit`` should be; another one is noted as a difference.
        clocks: whether baselines are taken at ``default`` or ``locked`` clocks.
        time_budget_s: measuring seconds per case, at most; what is decided sooner ends sooner.
        path: the file.
    """

    name: str
    description: str
    match: Match
    batches: dict[str, tuple[int, ...]]
    tolerance: Tolerance
    time_budget_s: float
    path: str
    peaks: dict[str, float] = field(default_factory=dict)
    peaks_source: str = ""
    server: dict[str, str] = field(default_factory=dict)
    power_limit_w: float | None = None
    clocks: Clocks = "default"

    @property
    def is_gpu(self) -> bool:
        """Whether cases run on GPUs."""
        return self.match.device == "gpu"

    def batches_for(self, model: str) -> tuple[int, ...]:
        """Return the batch sizes of ``model`` on this server, ascending."""
        return self.batches.get(model, self.batches["default"])


def known() -> tuple[str, ...]:
    """Return the names of the shipped profiles, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load(name_or_path: str) -> ServerProfile:
    """Read a shipped profile by name, or a user's own by path (anything with ``.toml`` or a slash is a path).

    Raises:
        ConfigError: no such profile or file, malformed TOML, unknown key, or a value that cannot be.
    """
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        return _read(Path(name_or_path))
    if name_or_path in known():
        return _read(FOLDER / f"{name_or_path}.toml")
    raise ConfigError(
        f"unknown server profile {name_or_path!r}",
        expected=f"one of {', '.join(known())}, auto, or the path of a .toml file",
        hint="write one for this machine: gpuperf profiles new > my-server.toml",
    )


def auto(machine: Machine) -> tuple[ServerProfile, str]:
    """Choose the shipped profile that matches the machine, else ``cpu``; the text says why."""
    if not machine.gpus:
        why = f"NVML: {machine.driver.fault}" if machine.driver.fault else "NVML lists none"
        return load("cpu"), f"no GPU found ({why})"
    found = found_gpus(machine)
    for name in known():
        profile = load(name)
        if profile.is_gpu and not mismatches(profile, machine):
            return profile, f"found {found}"
    return load("cpu"), f"no shipped profile matches {found}"


def mismatches(profile: ServerProfile, machine: Machine) -> tuple[Mismatch, ...]:
    """Return every way in which ``machine`` is not the profile's; empty when it matches."""
    rules = profile.match
    if rules.device == "cpu":
        return ()
    alike = [gpu for gpu in machine.gpus if is_named(profile, gpu)]
    if machine.gpus and not alike:
        return (Mismatch(what="name", found=found_gpus(machine), expected=" or ".join(rules.names)),)
    found: list[Mismatch] = []
    if not rules.count[0] <= len(alike) <= rules.count[1]:
        found.append(Mismatch(what="count", found=f"{len(alike)} GPU(s)", expected=f"{_span(rules.count)} GPU(s)"))
    for gpu in alike:
        gib = None if gpu.memory_mib is None else gpu.memory_mib / 1024
        if rules.memory_gib and gib is not None and not rules.memory_gib[0] <= gib <= rules.memory_gib[1]:
            expected = f"{_span(rules.memory_gib)} GiB"
            found.append(Mismatch(what="memory", found=f"GPU {gpu.index}: {gib:.1f} GiB", expected=expected))
        if rules.mig is not None and gpu.is_mig is not None and gpu.is_mig != rules.mig:
            state = {True: "on", False: "off"}
            found.append(Mismatch(what="MIG", found=f"GPU {gpu.index}: {state[gpu.is_mig]}", expected=state[rules.mig]))
    return tuple(found)


def is_named(profile: ServerProfile, gpu: Gpu) -> bool:
    """Whether the GPU's name is one of the profile's."""
    return any(fnmatchcase(gpu.name, pattern) for pattern in profile.match.names)


def found_gpus(machine: Machine) -> str:
    """Return the machine's GPUs in words, such as ``2 x NVIDIA A40``."""
    names = [gpu.name or f"GPU {gpu.index} ({gpu.fault})" for gpu in machine.gpus]
    return ", ".join(f"{names.count(name)} x {name}" for name in sorted(set(names))) or "no GPU"


def _span(span: tuple[float, float]) -> str:
    return f"{span[0]:g}" if span[0] == span[1] else f"{span[0]:g} to {span[1]:g}"


def _read(path: Path) -> ServerProfile:
    top = Table.read(path)
    rules, batches, tolerances = top.table("match"), top.table("batches"), top.table("tolerances_pct")
    peaks, power, server = top.table("peaks"), top.table("power"), top.table("server")
    profile = ServerProfile(
        name=top.text("name"),
        description=top.text("description"),
        match=_match(rules),
        batches={"default": batches.sizes("default"), **{model: batches.sizes(model) for model in batches.rest()}},
        tolerance=Tolerance(
            default_pct=tolerances.number("default"),
            per_metric_pct={metric: tolerances.number(metric) for metric in tolerances.rest()},
        ),
        time_budget_s=top.number("time_budget_s"),
        path=str(path),
        peaks_source=peaks.text("source") if peaks.values else "",
        peaks={peak: peaks.number(peak) for peak in get_args(Peak) if peaks.has(peak)},
        power_limit_w=power.number("limit_w") if power.has("limit_w") else None,
        clocks="locked" if power.one_of("clocks", get_args(Clocks), "default") == "locked" else "default",
        server={key: str(server.scalar(key)) for key in server.rest()},
    )
    for table in (top, rules, peaks, power):
        table.finish()
    if not profile.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        # The name becomes a folder below baselines/.
        raise top.error("name", repr(profile.name), "letters, digits, '-', '_' and '.'")
    return profile


def _match(rules: Table) -> Match:
    device: Device = "gpu" if rules.one_of("device", get_args(Device)) == "gpu" else "cpu"
    if device == "cpu":
        return Match(device="cpu")
    low, high = rules.span("count")
    if low < 1 or low % 1 or high % 1:
        raise rules.error("count", f"[{low:g}, {high:g}]", "whole numbers of GPUs, at least 1")
    return Match(
        device="gpu",
        names=rules.texts("names"),
        count=(int(low), int(high)),
        memory_gib=rules.span("memory_gib") if rules.has("memory_gib") else None,
        mig=rules.flag("mig") if rules.has("mig") else None,
    )
