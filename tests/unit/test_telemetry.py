"""Telemetry windows by exact values, and the sampler process on this machine's CPU."""

from __future__ import annotations

import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import window
from pytest_gpuperf.gauges import Gauge, Pids
from pytest_gpuperf.sampler import Reader
from pytest_gpuperf.telemetry import Sampler

S = 1_000_000_000


def rows(count: int, hz: float = 10.0, **values):
    """Rows at ``hz`` from 0 s on; a value may be a number or a function of seconds."""
    return [
        {"t": i * S / hz, **{name: value(i / hz) if callable(value) else value for name, value in values.items()}}
        for i in range(count)
    ]


def test_gauges_become_means_and_peaks():
    sampled = rows(41, gpu_utilisation_pct=lambda t: 100.0 if t >= 2 else 0.0, memory_used_mib=lambda t: 100 + t)
    summary = window.summarise(sampled, 1 * S, 3 * S, hz=10)
    assert summary["samples"] == 21
    assert summary["missed_pct"] == 0
    assert summary["gpu_utilisation_pct"] == pytest.approx(100 * 11 / 21)
    assert summary["memory_used_mib"] == pytest.approx(102)
    assert summary["memory_peak_mib"] == 103
    # Quarters of 5 samples: means 101.2, 101.7, 102.2 and 102.8; the least rise is 0.5.
    assert summary["memory_growth_mib"] == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("gauge", "growth"),
    [
        (lambda t: 100 + 512 * (t >= 2), 0.0),  # buffers for more calls in flight
        (lambda t: 100 + 512 * (t >= 1) - 256 * (t >= 3), 0.0),
        (lambda t: 200 - 10 * t, 0.0),
        (lambda t: 100 + 40 * (t // 0.5), 240.0),  # a block in every half second
        (lambda t: 100 + 10 * t + 500 * (t >= 2), 30.0),  # a step does not hide a leak
    ],
)
def test_growth_is_what_goes_on_all_the_time(gauge, growth):
    sampled = rows(41, rss_mib=gauge)
    assert window.summarise(sampled, 0, 4 * S, hz=10)["rss_growth_mib"] == pytest.approx(growth, rel=0.25)


def test_energy_from_counter_and_from_power():
    sampled = rows(41, energy_mj=lambda t: 5000 + 250_000 * t, power_mw=250_000.0)
    summary = window.summarise(sampled, round(1.25 * S), round(3.75 * S), hz=10)
    assert summary["energy_j"] == pytest.approx(625)
    assert summary["energy_from_power_j"] == pytest.approx(625)
    assert summary["power_w"] == 250


def test_pcie_bytes_and_link_share():
    sampled = rows(41, pcie_rx_bytes=lambda t: 15.752e9 * t, pcie_tx_bytes=0.0, pcie_gen=4.0, pcie_width=16.0)
    summary = window.summarise(sampled, 1 * S, 3 * S, hz=10)
    assert summary["pcie_rx_mib"] == pytest.approx(2 * 15.752e9 / 2**20)
    assert summary["pcie_tx_mib"] == 0
    assert summary["pcie_link_pct"] == pytest.approx(50, rel=1e-3)


def test_throttle_shares():
    sampled = rows(21, throttle=lambda t: 0x40 | 0x04 if t >= 1.05 else 0x04)
    summary = window.summarise(sampled, 0, 2 * S, hz=10)
    assert summary["throttle_hw_thermal_pct"] == pytest.approx(100 * 10 / 21)
    assert summary["throttle_sw_power_cap_pct"] == 100
    assert summary["throttle_hw_slowdown_pct"] == 0


def test_host_shares():
    sampled = rows(21, cpu_ticks=lambda t: 200 * t, cpu_idle_ticks=lambda t: 50 * t, cpu_steal_ticks=lambda t: 20 * t)
    summary = window.summarise(sampled, 0, 2 * S, hz=10)
    assert summary["cpu_busy_pct"] == pytest.approx(75)
    assert summary["cpu_steal_pct"] == pytest.approx(10)


def test_unavailable_is_none():
    summary = window.summarise([], 0, S, hz=10)
    assert summary.pop("samples") == 0
    assert summary.pop("missed_pct") == 100
    assert set(summary.values()) == {None}


def test_names_are_always_the_same():
    full = window.summarise(rows(21, energy_mj=1.0, throttle=0.0, gpu_utilisation_pct=3.0), 0, 2 * S, hz=10)
    assert full.keys() == window.summarise([], 0, S, hz=10).keys()


def test_means_of_a_sampler_that_missed_too_much_are_unavailable():
    summary = window.summarise(rows(8, gpu_utilisation_pct=50.0, memory_used_mib=7.0), 0, S, hz=10)
    assert summary["missed_pct"] == pytest.approx(20)
    assert summary["gpu_utilisation_pct"] == 50
    summary = window.summarise(rows(7, gpu_utilisation_pct=50.0, memory_used_mib=7.0), 0, S, hz=10)
    assert summary["missed_pct"] == pytest.approx(30)
    assert summary["gpu_utilisation_pct"] is None
    assert summary["memory_peak_mib"] == 7


def test_short_window_has_no_missed_share():
    assert window.summarise(rows(3), 0, S // 5, hz=10)["missed_pct"] is None


def test_counter_wraps_at_32_bits():
    sampled = [{"t": 0, "c": 2**32 - 100.0}, {"t": S, "c": 100.0}, {"t": 2 * S, "c": 300.0}]
    assert window.counter_change(sampled, "c", 0, 2 * S) == 400


def test_counter_outside_of_what_was_sampled():
    sampled = rows(11, c=lambda t: 100 * t)
    assert window.counter_change(sampled, "c", 0, 10 * S) is None
    assert window.counter_change(sampled, "c", 0, round(1.05 * S)) == pytest.approx(105)
    assert window.counter_change(sampled[:1], "c", 0, S) is None
    assert window.counter_change(sampled, "other", 0, S) is None


@given(st.lists(st.floats(0, 1e6), min_size=3, max_size=40), st.integers(0, 99))
def test_windows_of_a_counter_add_up(steps, cut):
    total, sampled = 0.0, []
    for i, step in enumerate(steps):
        total += step
        sampled.append({"t": i * S, "c": total})
    end = (len(steps) - 1) * S
    middle = end * cut // 100
    whole = window.counter_change(sampled, "c", 0, end)
    parts = [window.counter_change(sampled, "c", *span) for span in ((0, middle), (middle, end))]
    assert sum(parts) == pytest.approx(whole, rel=1e-9, abs=1e-3)


def test_energy_per_sample():
    sampler = Sampler.start([os.getpid()])
    try:
        sampler._rows = [{"t": float(i * S), "energy_mj": 1000.0 * i} for i in range(9)]
        assert sampler.window(2 * S, 4 * S, calls=10, batch=8)["energy_mj_per_sample"] == 25
        assert sampler.window(2 * S, 4 * S)["energy_mj_per_sample"] is None
    finally:
        sampler.stop()


def test_cpu_twin():
    ballast = bytearray(64 << 20)
    with Sampler.start([os.getpid()], hz=10) as sampler:
        deadline = time.monotonic() + 20
        while not sampler.window(0, time.monotonic_ns())["samples"]:
            assert time.monotonic() < deadline
        started, began_cpu = time.monotonic_ns(), time.process_time()
        while time.process_time() - began_cpu < 1.5:  # long enough for the load, which is read once a second
            sum(range(1000))
        ended, used = time.monotonic_ns(), time.process_time() - began_cpu
        summary = sampler.window(started, ended, pid=os.getpid())
    assert summary["rss_peak_mib"] > 64
    assert summary["worker_peak_mib"] == summary["rss_peak_mib"]
    assert summary["process_cpu_s"] == pytest.approx(used, abs=0.25)
    assert 0 < summary["cpu_busy_pct"] <= 100
    assert summary["load"] >= 0
    assert summary["gpu_utilisation_pct"] is None
    assert json.loads(json.dumps(summary)) == summary
    assert len(ballast) == 64 << 20


def test_stopping_twice_is_harmless_and_keeps_the_rows():
    sampler = Sampler.start([os.getpid()], hz=20)
    time.sleep(0.5)
    sampler.stop()
    sampler.stop()
    assert not sampler.is_alive
    sampler.watch([1])
    assert sampler.window(0, time.monotonic_ns())["samples"] >= 0


def test_memory_of_one_process_among_several():
    sampled = rows(5, **{"gpu_mib.7": lambda t: 100 + t, "gpu_mib.8": lambda _: 900})
    assert window.summarise(sampled, 0, 4 * S, hz=1, memory="gpu_mib.7")["worker_peak_mib"] == pytest.approx(100.4)
    assert window.summarise(sampled, 0, 4 * S, hz=1, memory="gpu_mib.9")["worker_peak_mib"] is None


def test_a_budget_of_memory_is_judged_by_the_workers_own(fake_nvml):
    fake_nvml.write(f"processes = {os.getpid()}:1073741824 1:2147483648")
    with Sampler.start([os.getpid()], "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd") as sampler:
        deadline = time.monotonic() + 20
        while (values := sampler.window(0, time.monotonic_ns(), pid=os.getpid()))["worker_peak_mib"] is None:
            assert time.monotonic() < deadline
    assert values["worker_peak_mib"] == 1024


def test_family_includes_children():
    pids = Pids()
    pids.watched = (os.getppid(),)
    assert {os.getppid(), os.getpid()} <= pids.family()
    pids.watched = (2**22 + 1,)
    assert pids.family() == {2**22 + 1}


def test_slow_gauges_are_read_less_often():
    calls = []
    reader = Reader([Gauge("slow", lambda: calls.append(1) or {"a": 1.0}, 60.0), Gauge("fast", lambda: {"b": 2.0})], 20)
    first, second = reader.read(), reader.read()
    assert first.keys() == {"t", "a", "b"}
    assert second.keys() == {"t", "b"}
    assert calls == [1]
