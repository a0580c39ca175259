"""Blocks and volleys to metrics; the sampler and its clock are scripted."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuperf import measurement, stats
from pytest_gpuperf.errors import EngineError
from pytest_gpuperf.measurement import Plan
from pytest_gpuperf.records import Block, Metric, Volley


class Script:
    """A sampler whose calls take scripted seconds of a scripted clock."""

    def __init__(self, *, call_s: float = 0.001, sps: Mapping[int, float] | None = None, luck: float = 1.0) -> None:
        self.now = 100.0
        self.call_s = call_s
        self.sps = sps or {}
        self.luck = luck
        self.asked: list[tuple[float, float]] = []

    def clock(self) -> float:
        return self.now

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        self.asked.append((seconds, max_calls))
        calls = max(1, min(max_calls, int(seconds / self.call_s)))
        self.now += calls * self.call_s
        return Block(host_ns=(int(self.call_s * 1e9),) * calls)

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        """Give the first volley of each number ``luck`` times its real rate."""
        seen = {number for number, _ in self.asked}
        self.asked.append((in_flight, seconds))
        self.now += max(seconds, 2 * self.call_s)
        rate = self.sps[in_flight] * (1.0 if in_flight in seen else self.luck)
        return Volley(in_flight=in_flight, calls=round(rate * 1000), batch=1, seconds=1000.0)


def test_blocks_are_taken_until_the_time_is_up() -> None:
    script = Script()
    blocks = measurement.sample(script, seconds=1.0, plan=Plan(block_s=0.25, max_calls=10_000), clock=script.clock)
    assert [len(block.host_ns) for block in blocks] == [250, 250, 250, 250]
    assert script.asked == [(0.25, 10_000)] * 4


def test_a_call_longer_than_the_budget_still_gives_a_block() -> None:
    script = Script(call_s=10)
    assert len(measurement.sample(script, seconds=1.0, clock=script.clock)) == 1


def test_the_sweep_ends_where_the_curve_is_flat_and_the_winner_is_confirmed() -> None:
    script = Script(sps={1: 100, 2: 190, 4: 191, 8: 500})
    volleys = measurement.saturate(script, seconds=10, plan=Plan(flat_pct=3), clock=script.clock)
    assert [volley.in_flight for volley in volleys] == [1, 2, 4, 4, 4, 4, 4]
    assert script.now == pytest.approx(110)
    assert [seconds for _, seconds in script.asked] == pytest.approx([1, 1, 1, 1.75, 1.75, 1.75, 1.75])


def test_a_curve_that_rises_to_its_end_is_swept_to_its_end() -> None:
    script = Script(sps={1: 1, 2: 2, 4: 4, 8: 8, 16: 16})
    volleys = measurement.saturate(script, seconds=10, clock=script.clock)
    assert [volley.in_flight for volley in volleys][:6] == [1, 2, 4, 8, 16, 16]
    assert measurement.throughput(volleys).value == 16


def test_a_falling_curve_is_won_by_one_in_flight() -> None:
    script = Script(sps={1: 100, 2: 60})
    volleys = measurement.saturate(script, seconds=10, clock=script.clock)
    assert [volley.in_flight for volley in volleys] == [1, 2, 1, 1, 1, 1]


def test_an_engine_slower_than_the_budget_is_measured_once() -> None:
    script = Script(call_s=30, sps={1: 0.03})
    volleys = measurement.saturate(script, seconds=10, clock=script.clock)
    metric = measurement.throughput(volleys)
    assert metric == Metric(value=pytest.approx(0.03), unit="sps", n=1, higher="better")


def test_the_luck_of_the_winner_is_not_reported() -> None:
    script = Script(sps={1: 100, 2: 100}, luck=1.5)
    metric = measurement.throughput(measurement.saturate(script, seconds=10, clock=script.clock))
    assert metric.value == pytest.approx(100)


def test_throughput_multiplies_the_batch_and_is_bounded_by_the_spread() -> None:
    calls = [999, 100, 110, 120]  # the first one won the sweep
    volleys = [Volley(in_flight=2, calls=n, batch=8, seconds=2.0) for n in calls]
    metric = measurement.throughput([Volley(in_flight=1, calls=5000, batch=8, seconds=2.0), *volleys])
    assert (metric.value, metric.unit, metric.n, metric.higher) == (440, "sps", 3, "better")
    # Student's t, 97.5 %, 2 degrees of freedom: 4.302653; standard error 40 / sqrt(3).
    assert metric.lower == pytest.approx(440 - 4.302653 * 40 / 3**0.5)
    assert metric.upper == pytest.approx(440 + 4.302653 * 40 / 3**0.5)


def _block(milliseconds: list[float]) -> Block:
    return Block(host_ns=tuple(int(ms * 1e6) for ms in milliseconds))


@pytest.mark.parametrize(
    ("calls", "names"),
    [
        (5, set()),
        (6, {"latency_p50_ms"}),
        (35, {"latency_p50_ms"}),
        (36, {"latency_p50_ms", "latency_p90_ms"}),
        (367, {"latency_p50_ms", "latency_p90_ms"}),
        (368, {"latency_p50_ms", "latency_p90_ms", "latency_p99_ms"}),
    ],
)
def test_a_percentile_needs_enough_calls_for_its_bounds(calls: int, names: set[str]) -> None:
    assert measurement.latency([_block([1.0] * calls)], "host").keys() == names


def test_latency_is_of_all_calls_together() -> None:
    metrics = measurement.latency(
        [_block([float(n) for n in range(1, 51)]), _block([float(n) for n in range(51, 101)])], "host"
    )
    assert metrics["latency_p50_ms"].value == pytest.approx(50.5)
    assert metrics["latency_p90_ms"].value == pytest.approx(90.1)
    assert (metrics["latency_p50_ms"].lower, metrics["latency_p50_ms"].upper) == stats.percentile_bounds(
        range(1, 101), 0.5, 0.95
    )
    assert {metric.unit for metric in metrics.values()} == {"ms"}
    assert {metric.n for metric in metrics.values()} == {100}
    assert {metric.higher for metric in metrics.values()} == {"worse"}


def test_the_device_clock_is_used_when_it_is_asked_for() -> None:
    block = Block(host_ns=(2_000_000,) * 10, device_ns=(1_000_000,) * 10)
    assert measurement.latency([block], "device")["latency_p50_ms"].value == 1.0
    assert measurement.latency([block], "host")["latency_p50_ms"].value == 2.0


def test_a_device_clock_that_is_not_there_is_an_error() -> None:
    with pytest.raises(EngineError) as caught:
        measurement.latency([_block([1.0] * 3)], "device")
    assert (caught.value.what, caught.value.got) == ("a block has no device times", "0 of 3 calls")


@given(st.lists(st.floats(min_value=0.001, max_value=1e4), min_size=6, max_size=400))
def test_every_percentile_lies_within_its_bounds(milliseconds: list[float]) -> None:
    values = [int(ms * 1e6) / 1e6 for ms in milliseconds]
    for metric in measurement.latency([_block(milliseconds)], "host").values():
        assert metric.lower is not None
        assert metric.upper is not None
        assert min(values) <= metric.lower <= metric.value <= metric.upper <= max(values)
