"""One engine on all devices of a host from end to end: alone, together, one verdict. Read :func:`run`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_gpuperf import budgets, conditions, hardware, health, scaling, subject
from pytest_gpuperf.records import Finding, Measured, Status
from pytest_gpuperf.scaling import Device, ScalingBudget
from pytest_gpuperf.subject import Subject

if TYPE_CHECKING:
    from pytest_gpuperf.records import CaseResult
    from pytest_gpuperf.rig import Rig
    from pytest_gpuperf.scaling import Scaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Host(Subject):
    """What one call of ``scaling.check`` asks for; every device is fed the same batches.

    Attributes:
        devices: at least two.
        logs: folder of the workers' logs.
    """

    budget: ScalingBudget
    devices: tuple[Device, ...]
    logs: Path

    @property
    def system(self) -> str:
        """The engine's kind, times the devices."""
        return f"{len(self.devices)} x {self.engine.kind}"


def devices(rig: Rig, budget: ScalingBudget) -> tuple[Device, ...]:
    """Return the devices that a case runs on: the GPUs that CUDA programs see, or cores where the profile has no GPU.

    Raises:
        ConfigError: the budget names more than there are.
    """
    if not rig.profile.is_gpu:
        return scaling.first(scaling.cores(), budget.devices)
    visible = hardware.check_visible(rig.machine, os.environ)
    by_index = {gpu.index: gpu for gpu in rig.machine.gpus}
    return scaling.first(scaling.gpus([by_index[index] for index in visible]), budget.devices)


def run(this: Host, rig: Rig) -> CaseResult:
    """Measure all devices alone and together, judge; what goes wrong on the way becomes a verdict too."""
    return subject.run(this, lambda: _checked(this, rig))


def run_once(this: Host, rig: Rig) -> None:
    """Open the engine on every device, and nothing else (``--gpu-off``).

    Raises:
        GpuPerfError: a device or the engine cannot be opened.
    """
    folder = None if rig.bundle is None else rig.bundle.folder
    with scaling.crew(this.devices, this.engine, this.batches, cache=rig.cache, logs=this.logs, bundle=folder):
        pass


def _checked(this: Host, rig: Rig) -> CaseResult:
    with ExitStack() as held:
        for name in sorted({device.lock for device in this.devices}):  # in one order, so that no two wait in a circle
            held.enter_context(rig.exclusive(name))
        problems = rig.settle([device.gpu for device in this.devices if device.gpu is not None])
        health.refuse(problems)
        measured = [_measured(this, rig) for _ in range(rig.processes)]
    found = [finding for _, scaled in measured for finding in findings(scaled, this.budget)]
    return subject.judged(this, rig, [run for run, _ in measured], problems, found=found)


def _measured(this: Host, rig: Rig) -> tuple[Measured, Scaling]:
    rig.progress.start(this.id, f"opening {this.engine.kind} {this.engine.precision} on {len(this.devices)} devices")
    folder = None if rig.bundle is None else rig.bundle.folder
    opened = scaling.crew(
        this.devices,
        this.engine,
        this.batches,
        cache=rig.cache,
        logs=this.logs,
        bundle=folder,
        progress=rig.progress.say,
    )
    with opened as crew:
        rig.progress.turn("alone and together", expected_s=this.budget.seconds(len(this.devices)))
        scaled = crew.measure(this.budget)
    circumstances = conditions.collect(this.engine, this.batches, crew.info, rig.fingerprint, crew.inputs_digest)
    circumstances["mode.devices"] = str(len(this.devices))
    measured = Measured(
        info=crew.info,
        steady=crew.steady,
        metrics={"aggregate_sps": scaled.throughput, "scaling_efficiency": scaled.efficiency},
        accuracy=None,
        comparison=None,
        conditions=circumstances,
        notes=tuple(scaled.lines()),
        telemetry={f"share_{name}": share for name, share in scaled.shares.items()},
    )
    return measured, scaled


def findings(scaled: Scaling, budget: ScalingBudget) -> list[Finding]:
    """Judge what the devices lose to one another, and name those that are slow by themselves."""
    found = [budgets.bound("scaling_efficiency", scaled.efficiency, budget.efficiency, is_upper=False)]
    if scaled.slow:
        note = "; ".join(scaled.slow_lines())
        found.append(Finding(metric="slow device", status=Status.OVER_BUDGET, measured=None, note=note))
    return found
