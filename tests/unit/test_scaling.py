"""Scaling over devices: what is lost and to what, and which device is slow; cores stand in for GPUs."""

from __future__ import annotations

import os

import pytest
from fakes import cases

from pytest_gpuperf import scaling
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import EngineSpec, TensorSpec
from pytest_gpuperf.records.machine import Gpu
from pytest_gpuperf.scaling import Device, Round, ScalingBudget

TWO = [Device(name="gpu0", link_bytes_s=1e9), Device(name="gpu1", link_bytes_s=1e9)]


def judged(*rounds: Round, devices=TWO, sample_bytes=0.0):
    return scaling.judge(devices, rounds, ScalingBudget(), sample_bytes=sample_bytes)


def round_(alone, together, cpu_share=0.1) -> Round:
    return Round(alone=alone, together=together, cpu_share=cpu_share)


def test_efficiency_is_the_aggregate_over_the_sum_of_the_rates_alone():
    found = judged(round_((100, 100), (96, 98)), round_((100, 100), (98, 96)))

    assert found.efficiency.value == pytest.approx(0.97)
    assert (found.efficiency.lower, found.efficiency.upper) == pytest.approx((0.97, 0.97))
    assert found.throughput.value == pytest.approx(194)
    assert (found.cause, found.slow) == ("none", ())


def test_interval_is_student_t_over_the_rounds():
    found = judged(round_((100, 100), (90, 90)), round_((100, 100), (100, 100)))

    assert found.efficiency.value == pytest.approx(0.9**0.5)
    assert found.efficiency.lower == pytest.approx(0.9**0.5 * 0.9 ** (12.7062 / 2), rel=1e-4)


def test_slow_card_is_named_although_it_scales_well():
    devices = [Device(name=f"gpu{index}") for index in range(4)]

    found = judged(*[round_((100, 100, 80, 100), (100, 100, 80, 100))] * 2, devices=devices)

    assert found.efficiency.value == pytest.approx(1)
    assert found.slow == ("gpu2",)
    assert "gpu2 is slow: 20 % below the median one" in found.lines()


@pytest.mark.parametrize(
    ("cpu_share", "sample_bytes", "cause"),
    [(0.95, 0, "host"), (0.3, 2e7, "pcie"), (0.3, 1e6, "unknown"), (0.92, 2.4e7, "pcie")],
)
def test_host_and_link_are_told_apart(cpu_share, sample_bytes, cause):
    found = judged(*[round_((100, 100), (40, 40), cpu_share)] * 2, sample_bytes=sample_bytes)

    assert found.cause == cause


def test_one_device_scales_with_nobody(tmp_path):
    with pytest.raises(ConfigError, match="scaling needs at least two devices"):
        measured(TWO[:1], cases.engine(), tmp_path)


def test_gpus_are_devices_by_uuid_with_their_link():
    (device,) = scaling.gpus([Gpu(index=1, uuid="GPU-1", pcie_gen_max=5, pcie_width=16)])

    assert device.env == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert device.link_bytes_s == pytest.approx(63e9, rel=1e-3)


def measured(devices, engine: EngineSpec, tmp_path):
    budget = ScalingBudget(rounds=2, round_s=0.4, in_flight=1)
    with scaling.crew(devices, engine, cases.batches(), cache=tmp_path, logs=tmp_path) as crew:
        return crew.measure(budget)


def test_planted_slow_device_is_named_by_real_workers(tmp_path):
    engine = EngineSpec(kind="fakes.scaled:Sleeping", model=cases.MODEL, precision="fp32")
    devices = [Device(name=f"card{i}", env={"GPUPERF_SLEEP_MS": ms}) for i, ms in enumerate(["20", "20", "60"])]

    assert measured(devices, engine, tmp_path).slow == ("card2",)


def test_devices_fed_by_one_core_lose_to_one_another(tmp_path):
    core = frozenset({min(os.sched_getaffinity(0))})
    devices = [Device(name=name, cores=core) for name in ("card0", "card1", "card2", "card3")]

    found = measured(devices, cases.engine(latencies_ms="2"), tmp_path)

    assert found.efficiency.value < 0.6, "four share what each had alone"
    assert found.cause == "host"
    assert set(found.shares) == {"card0", "card1", "card2", "card3"}


def test_a_full_link_is_named_by_real_workers(tmp_path):
    engine = EngineSpec(kind="fakes.scaled:Sleeping", model=cases.MODEL, precision="fp32")
    link = tmp_path / "link"
    link.mkdir()
    env = {"GPUPERF_SLEEP_MS": "20", "GPUPERF_LINK": str(link)}
    link_bytes_s = 5 * 4 * 32  # for about 17 calls a second of 4 samples of 32 bytes: fuller than any processor
    devices = [Device(name=f"card{i}", env=env, link_bytes_s=link_bytes_s) for i in (0, 1)]

    found = measured(devices, engine, tmp_path)

    assert found.efficiency.value < 0.7, "a third, where both use the link all the time"
    assert found.cause == "pcie"


@pytest.mark.parametrize("shape", [(-1, 3, 4), (1, 3, 4), (64, 3, 4)])
def test_bytes_are_those_of_one_sample_whatever_the_batch(shape):
    tensor = TensorSpec(name="images", dtype="float32", shape=shape)

    assert scaling._sample_bytes(tensor) == 48


def test_there_are_no_more_devices_than_there_are():
    with pytest.raises(ConfigError, match=r"there are too few devices\n  got:      2 \(gpu0, gpu1\)\n  expected: 3"):
        scaling.first(TWO, 3)
    assert scaling.first(TWO, None) == tuple(TWO)
    assert scaling.first(TWO, 1) == (TWO[0],)
