"""The gauges in this process: what they read from a scripted NVML, and what they leave out."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pytest_gpuperf import gauges

UUID = "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"
# NVML is loaded once per process, so each script has one of its own.
READ = f"""
import json, os, sys
from pytest_gpuperf.gauges import Pids, gpu_gauges
pids = Pids()
pids.watched = (os.getpid(),)
found = gpu_gauges({UUID!r}, pids)
row = {{}}
for _ in range(2):
    for gauge in found:
        row.update(gauge.read())
print(json.dumps([[gauge.name for gauge in found], row]))
"""


def read(fake_nvml, *script: str) -> tuple[list[str], dict[str, float]]:

    fake_nvml.write(*script)
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, timeout=60, check=True)
    return tuple(json.loads(done.stdout))


def test_activity_of_sms_tensor_cores_and_memory(fake_nvml):
    names, row = read(fake_nvml, "gpm = 1", "gpm2 = 87.5", "gpm3 = 55", "gpm5 = 61", "gpm10 = none")
    assert "nvmlGpmSampleGet" in names
    assert (row["sm_activity_pct"], row["sm_occupancy_pct"], row["tensor_activity_pct"]) == (87.5, 55, 61)
    assert "dram_activity_pct" not in row


@pytest.mark.parametrize("function", ["nvmlGpmSampleAlloc", "nvmlGpmSampleGet", "nvmlGpmMetricsGet"])
def test_activity_that_cannot_be_read_is_left_out(fake_nvml, function):
    _, row = read(fake_nvml, "gpm = 1", "gpm2 = 87.5", f"{function} = rc 3")
    assert "sm_activity_pct" not in row
    assert row["power_mw"] == 90000


def test_cards_before_hopper_have_no_activity(fake_nvml):
    names, _ = read(fake_nvml, "gpm = 0")
    assert "nvmlGpmSampleGet" not in names


@pytest.mark.parametrize(
    ("script", "missing"),
    [
        ("nvmlDeviceGetMemoryInfo_v2 = rc 3", "memory_used_mib"),
        ("nvmlDeviceGetUtilizationRates = rc 3", "gpu_utilisation_pct"),
        ("processes = 999999999:1024", "foreign_processes"),
        ("nvmlDeviceGetTotalEccErrors = rc 3", "ecc_errors"),
    ],
)
def test_what_a_card_does_not_tell_is_left_out(fake_nvml, script, missing):
    _, row = read(fake_nvml, script)
    assert missing not in row


def test_without_events_there_is_no_gauge_of_xids(fake_nvml):
    names, _ = read(fake_nvml, "nvmlDeviceRegisterEvents = rc 3")
    assert "nvmlEventSetWait" not in names
    assert len(names) >= 8


def test_older_drivers_have_power_and_energy_elsewhere(fake_nvml):
    fake_nvml.build(without=["nvmlDeviceGetFieldValues"])
    _, row = read(fake_nvml, "power = 123000", "energy = 5000")
    assert (row["power_mw"], row["energy_mj"]) == (123000, 5000)
    assert "pcie_tx_bytes" not in row


@pytest.mark.parametrize("script", ["nvmlDeviceGetHandleByUUID = rc 6", "nvmlDeviceGetHandleByUUID = rc 15"])
def test_a_gpu_that_does_not_answer_has_no_gauges(fake_nvml, script):
    assert read(fake_nvml, script) == ([], {})


@pytest.mark.parametrize(
    ("gauge", "text"),
    [("/proc/stat", ""), ("/proc/stat", "cpu 1 2"), ("/proc/loadavg", ""), ("cpufreq", ""), ("cgroup cpu.stat", "")],
)
def test_a_host_that_does_not_tell(monkeypatch, gauge, text):
    monkeypatch.setattr(gauges, "_read", lambda _: text)
    (found,) = (each for each in gauges.host_gauges(gauges.Pids()) if each.name == gauge)
    assert found.read() == {}


def test_a_host_that_tells(monkeypatch):
    texts = {"cpu.stat": "nr_throttled 3\nthrottled_usec 1500\n", "scaling_cur_freq": "2400000\n"}
    monkeypatch.setattr(gauges, "_read", lambda path: texts.get(path.rpartition("/")[2], ""))
    found = {each.name: each.read() for each in gauges.host_gauges(gauges.Pids())}
    assert found["cgroup cpu.stat"] == {"cgroup_throttled_us": 1500}
    assert found["cpufreq"] == {"cpu_frequency_mhz": 2400}
    assert found["/proc/PID/stat"] == {}


def test_processes_are_told_apart():
    pids = gauges.Pids()
    pids.watched = (os.getpid(), os.getppid())
    (found,) = (each for each in gauges.host_gauges(pids) if each.name == "/proc/PID/stat")
    row = found.read()
    assert row["rss_mib"] == pytest.approx(row[f"rss_mib.{os.getpid()}"] + row[f"rss_mib.{os.getppid()}"])
