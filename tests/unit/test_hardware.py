"""The probe and fingerprint of this machine's CPU; GPUs are in tests/faults/test_machine_faults.py."""

from __future__ import annotations

import os
import platform
from dataclasses import replace

from pytest_gpuperf import hardware, nvml, profiles
from pytest_gpuperf.records.machine import Driver, Gpu

GPU = Gpu(index=0, uuid="GPU-1", name="NVIDIA A40", power_limit_w=300.0, compute_capability="8.6")


def test_probe_of_this_machine():
    machine = hardware.probe()
    assert machine.cpu.cores == len(os.sched_getaffinity(0))
    assert machine.cpu.memory_mib > 256
    assert machine.cpu.model
    assert set(machine.cpu.instructions) <= set(hardware.INSTRUCTIONS)
    assert len(machine.id) == 16
    assert platform.node() not in machine.id


def test_probe_is_stable():
    assert replace(hardware.probe()) == hardware.probe()


def test_fingerprint_leaves_gpus_out_of_cpu_runs():
    machine = replace(hardware.probe(), gpus=(GPU,), driver=Driver(version="580.95.05", cuda="13.0"))
    on_cpu = hardware.fingerprint(machine, profiles.load("cpu"))
    assert on_cpu.hardware.keys() == {"cpu", "cores", "instructions"}
    on_gpu = hardware.fingerprint(machine, profiles.load("a40"))
    assert on_gpu.hardware["gpu"] == "1 x NVIDIA A40"
    assert on_gpu.hardware["power_limit_w"] == "300"
    assert on_gpu.hardware["compute_capability"] == "8.6"
    assert on_gpu.software["driver"] == "580.95.05"
    assert on_gpu.software["cuda_driver"] == "13.0"
    assert hardware.fingerprint(machine).hardware == on_gpu.hardware


def test_gpus_identify_the_machine_inside_containers():
    first, second = hardware._machine_id((GPU,)), hardware._machine_id((replace(GPU, uuid="GPU-2"),))
    assert first != second
    assert first == hardware._machine_id((replace(GPU, index=7),))
    assert "GPU-1" not in first


def test_image_copies_are_different_machines_after_a_boot(monkeypatch):
    texts = {"/etc/machine-id": "abc\n", "/proc/sys/kernel/random/boot_id": "one\n"}
    monkeypatch.setattr(hardware, "_read", lambda path: texts.get(path, ""))
    monkeypatch.setattr(hardware.Path, "exists", lambda self: str(self) == "/.dockerenv")
    first = hardware._machine_id(())
    texts["/proc/sys/kernel/random/boot_id"] = "two\n"
    assert hardware._machine_id(()) != first
    monkeypatch.setattr(hardware.Path, "exists", lambda self: str(self) == "/sys/class/dmi/id/sys_vendor")
    bare = hardware._machine_id(())
    texts["/proc/sys/kernel/random/boot_id"] = "three\n"
    assert hardware._machine_id(()) == bare


def test_cpu_without_model_name(monkeypatch):
    monkeypatch.setattr(hardware, "_read", lambda path: "CPU part\t: 0xd40\nFeatures\t: asimd bf16 crc32\n")
    assert hardware._cpu_model() == "0xd40"
    assert hardware._instructions() == ("asimd", "bf16")
    monkeypatch.setattr(hardware, "_read", lambda path: "")
    assert hardware._cpu_model() in {platform.processor(), platform.machine()}


def test_binding_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(nvml, "binding", lambda: None)
    assert nvml.probe() == {"driver": {"fault": "BINDING_NOT_INSTALLED"}, "gpus": []}
    assert "pip install 'pytest-gpuperf[gpu]'" in nvml.explain("BINDING_NOT_INSTALLED")[1]
