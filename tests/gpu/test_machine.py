"""The machine layer on a real GPU: probe, profile, telemetry. The figures are in benchmarks/machine_gpu.py."""

from __future__ import annotations

import os
import time

import pytest

from pytest_gpuperf import hardware, health, profiles
from pytest_gpuperf.telemetry import Sampler

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def machine():
    machine = hardware.probe()
    if not machine.gpus:
        pytest.skip(f"no GPU: {machine.driver.fault}")
    return machine


def test_probe_knows_the_card(machine):
    gpu = machine.gpus[0]
    assert gpu.fault is None
    assert gpu.name.startswith("NVIDIA")
    assert gpu.uuid.startswith("GPU-")
    assert gpu.memory_mib > 1024
    assert machine.driver.version
    assert machine.driver.cuda


def test_automatic_profile_matches(machine):
    profile, _ = profiles.auto(machine)
    hardware.match(profile, machine, environ={})
    assert [problem for problem in health.check(machine, profile) if problem.code == "DCGM_FR_FALLEN_OFF_BUS"] == []


def test_telemetry_reads_an_idle_card(machine):
    with Sampler.start([os.getpid()], machine.gpus[0].uuid) as sampler:
        time.sleep(2)
        started = time.monotonic_ns()
        time.sleep(2)
        window = sampler.window(started, time.monotonic_ns())
    assert window["missed_pct"] <= 20
    assert window["power_w"] > 0
    assert window["energy_j"] == pytest.approx(window["energy_from_power_j"], rel=0.2)
    assert window["memory_used_mib"] >= 0
    assert sampler.hung == []
