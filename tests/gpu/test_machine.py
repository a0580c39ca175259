"""The machine layer on a real GPU: probe, profile, telemetry. The figures are in benchmarks/machine_gpu.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_gpuperf import hardware, health, profiles
from pytest_gpuperf.telemetry import Sampler

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest
from pytest_gpuperf import Budget, Model

FAKE = Model(name="fake", source="none", inputs="seeded.py:numbers")


@pytest.mark.parametrize("device_ms", [1, 3])
def test_engine(engine, batched_inputs, gpuperf, device_ms):
    def scripted(ms):
        return engine(FAKE, "fakes.engine:FakeEngine", device_ms=ms, latencies_ms=ms)

    inputs = batched_inputs("seeded.py:numbers", 8, samples=64)
    gpuperf.check(scripted(device_ms), inputs, Budget(), reference=scripted(2))
"""


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


@pytest.mark.parametrize("arguments", [[], ["-n2"]], ids=["alone", "n2"])
def test_session_matches_the_card_and_attaches_its_telemetry(machine, tmp_path, arguments):
    """The engine is scripted and runs on the CPU: this is about everything around it."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "seeded.py").write_text((ROOT / "tests" / "fakes" / "inputs.py").read_text())
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "pytest", "-p", "pytest_gpuperf.plugin", "--gpu-profile=auto", *arguments]
    done = subprocess.run(
        [*command, "--gpu-time-budget=3"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    profile, _ = profiles.auto(machine)
    results = json.loads((tmp_path / ".gpuperf" / "results.json").read_text())
    assert results["profile"] == profile.name, done.stdout
    assert len(results["cases"]) == 2
    for case in results["cases"]:
        assert case["verdict"] in {"new", "inconclusive"}, done.stdout
        assert case["telemetry"]["power_w"] > 0
        assert case["telemetry"]["missed_pct"] <= 20
