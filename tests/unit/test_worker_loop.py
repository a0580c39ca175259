"""The loop that times calls: rotation, limits, steadiness, and outputs that must not change."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fakes import cases
from fakes.engine import FakeEngine
from fakes.inputs import numbers

from pytest_gpuperf.errors import EngineError
from pytest_gpuperf.worker.agreement import check
from pytest_gpuperf.worker.loop import Loop, _judge
from pytest_gpuperf.worker.server import NO_ARTEFACT

BATCHES = [{"numbers": part} for part in np.split(numbers(12, 0)["numbers"], 3)]


@contextmanager
def loop_of(**options: str) -> Iterator[tuple[Loop, FakeEngine]]:
    engine = FakeEngine(cases.engine(**options))
    engine.open(NO_ARTEFACT, cache=Path(), progress=lambda _: None)
    loop = Loop(engine, BATCHES, batch=4)
    try:
        yield loop, engine
    finally:
        loop.close()
        engine.close()


def test_evaluation_returns_all_samples_in_order() -> None:
    with loop_of() as (loop, engine):
        outputs = loop.evaluate()["logits"]
        assert outputs.shape == (12, 10)
        for number, batch in enumerate(BATCHES):
            np.testing.assert_array_equal(outputs[4 * number :][:4], engine.bind(batch).logits)


def test_a_block_has_at_least_one_call() -> None:
    with loop_of() as (loop, _):
        assert len(loop.measure(seconds=0, max_calls=10).host_ns) == 1
        assert len(loop.measure(seconds=0, max_calls=0).host_ns) == 1


def test_a_block_ends_at_max_calls_and_rotates_over_all_batches() -> None:
    with loop_of() as (loop, _):
        loop.evaluate()
        used: list[int] = []
        for index, binding in enumerate(loop._bindings):
            binding.run = lambda index=index: used.append(index)
        assert len(loop.measure(seconds=60, max_calls=4).host_ns) == 4
        assert len(loop.measure(seconds=60, max_calls=3).host_ns) == 3
        assert used == [0, 1, 2, 0, 1, 2, 0]


def test_a_block_knows_when_it_was_and_what_it_cost() -> None:
    with loop_of(latencies_ms="2") as (loop, _):
        block = loop.measure(seconds=60, max_calls=5)
        assert block.ended_ns - block.started_ns >= sum(block.host_ns) >= 5 * 2_000_000
        assert block.cpu_ns > 0
        assert block.device_ns == ()


@pytest.mark.parametrize("core", [None, *sorted(os.sched_getaffinity(0))[:2]])
def test_a_block_stays_on_its_core_and_no_longer(core: int | None) -> None:
    allowed = os.sched_getaffinity(0)
    with loop_of() as (loop, _):
        seen: list[set[int]] = []
        loop.evaluate()
        for binding in loop._bindings:
            binding.run = lambda: seen.append(os.sched_getaffinity(0))
        loop.measure(seconds=60, max_calls=2, core=core)
        assert seen == [allowed if core is None else {core}] * 2
        assert os.sched_getaffinity(0) == allowed


def test_an_engine_with_threads_of_its_own_is_not_kept_on_a_core() -> None:
    allowed = os.sched_getaffinity(0)
    with loop_of() as (loop, _):
        seen: list[set[int]] = []

        def run() -> None:
            thread = threading.Thread(target=lambda: sum(range(100_000)))
            thread.start()
            thread.join()
            seen.append(os.sched_getaffinity(0))

        loop.evaluate()
        for binding in loop._bindings:
            binding.run = run
        loop.warm_up(max_s=0.2)
        loop.measure(seconds=60, max_calls=1, core=min(allowed))
        assert seen[-1] == allowed


def test_a_failed_call_frees_the_thread_from_its_core() -> None:
    allowed = os.sched_getaffinity(0)
    with loop_of() as (loop, _):
        for binding in loop._bindings:
            binding.run = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            loop.measure(seconds=60, max_calls=2, core=min(allowed))
        assert os.sched_getaffinity(0) == allowed


def test_device_times_come_with_the_calls_where_there_is_a_device_clock() -> None:
    with loop_of(device_clock="1", latencies_ms="1") as (loop, _):
        assert loop.measure(seconds=60, max_calls=3).device_ns == (900_000,) * 3


def test_the_collector_rests_during_a_block_and_works_after() -> None:
    with loop_of() as (loop, _):
        loop.evaluate()
        seen: list[bool] = []
        for binding in loop._bindings:
            binding.run = lambda: seen.append(gc.isenabled())
        loop.measure(seconds=60, max_calls=3)
        assert seen == [False] * 3
        assert gc.isenabled()


def test_warm_up_lasts_until_the_scripted_latency_is_flat() -> None:
    falling = ",".join(str(ms) for ms in range(60, 20, -2))  # 20 calls that get faster, then 22 ms for ever
    with loop_of(latencies_ms=falling, how="sleep") as (loop, _):
        steady = loop.warm_up(max_s=30)
    assert steady.is_steady
    assert steady.warmup_runs > 20


def test_warm_up_that_never_settles_says_so() -> None:
    rising = ",".join(str(100 * 1.1**run) for run in range(40))  # 10 % slower with every call, as if it leaked
    with loop_of(latencies_ms=rising, how="sleep") as (loop, _):
        steady = loop.warm_up(max_s=0.9)
    assert not steady.is_steady
    assert steady.warmup_s >= 0.9
    assert steady.drift_pct > 5


@pytest.mark.parametrize(
    ("medians", "drift", "steady"),
    [
        ([100, 100, 100, 100], 0.0, True),
        ([100, 102, 101, 103], 200 / 202, True),
        ([106, 104, 102, 100], 100 * (202 / 210 - 1), False),  # a trend
        ([100, 112, 112, 100], 0.0, False),  # no trend, but noise
        ([100, 100, 100], 0.0, False),  # too few groups
        ([100, 112] * 3, 0.0, False),  # noise or the beginning of a trend: too early to say
        (
            [100, 112] * 9,
            100 * ((100 + 4 / 7 * 12) / (100 + 3 / 7 * 12) - 1),
            True,
        ),  # noise that has been going on without a trend
        ([100, 112] * 6 + [120, 132] * 3, 100 * (124 / (100 + 3 / 7 * 12) - 1), False),  # noise, and a step
        ([200 - 2 * group for group in range(18)], 100 * (172 / 186 - 1), False),  # a trend that goes on
    ],
)
def test_steady_means_no_trend_and_little_noise(medians: list[float], drift: float, steady: bool) -> None:
    assert _judge(medians) == (pytest.approx(drift), steady)


def test_volleys_count_calls_of_all_lanes_and_multiply_nothing_themselves() -> None:
    with loop_of(latencies_ms="10", how="sleep") as (loop, engine):
        volley = loop.volley(in_flight=4, seconds=0.2)
        assert (volley.in_flight, volley.batch) == (4, 4)
        assert 4 <= volley.calls < engine.runs
        # Four sleepers at once: more than two calls per scripted latency, whatever the machine.
        assert volley.calls / volley.seconds * 0.010 > 2


def test_a_volley_does_not_count_a_starved_lane_as_if_it_had_run_all_the_time() -> None:
    """Lanes that run in turns, some calls long, are each fast while they run; together they are one engine.

    The sum of the lanes' own rates would be several times what one engine that takes 2 ms a call can do.
    """
    engine_is_free, turn_ends = threading.Lock(), itertools.cycle([False] * 59 + [True])

    def run_in_turns() -> None:
        if not mine.__dict__.get("turn"):
            mine.turn = engine_is_free.acquire(timeout=1)  # not for ever: the last one keeps its turn
        time.sleep(0.002)
        if mine.turn and next(turn_ends):
            mine.turn = False
            engine_is_free.release()
            time.sleep(0.001)

    mine = threading.local()
    with loop_of() as (loop, _):
        loop.volley(in_flight=4, seconds=0)  # binds four
        for binding in loop._bindings:
            binding.run = run_in_turns
        volley = loop.volley(in_flight=4, seconds=0.2)
    assert volley.calls >= 20
    assert volley.calls / volley.seconds <= 1.05 / 0.002


def test_volleys_bind_more_when_there_are_fewer_batches_than_lanes() -> None:
    with loop_of() as (loop, _):
        loop.volley(in_flight=5, seconds=0.01)
        assert len(loop._bindings) == 5
        # Latency still rotates over the input set alone.
        assert loop.evaluate()["logits"].shape == (12, 10)
        assert len(loop.measure(seconds=60, max_calls=7).host_ns) == 7


def test_an_error_in_a_lane_ends_the_volley() -> None:
    with loop_of(fault="error", at="9") as (loop, _), pytest.raises(RuntimeError, match="kernel launch failed"):
        loop.volley(in_flight=3, seconds=60)


@pytest.mark.parametrize("fault", ["nan", "change"])
def test_outputs_that_change_while_they_are_timed_void_the_block(fault: str) -> None:
    with loop_of(**{fault: "5"}) as (loop, _):
        loop.evaluate()
        loop.measure(seconds=60, max_calls=1)
        with pytest.raises(EngineError, match="outputs changed during timing: 'logits'"):
            loop.measure(seconds=60, max_calls=1)


def test_outputs_that_change_in_a_volley_void_it() -> None:
    with loop_of(change="6") as (loop, _):
        loop.evaluate()
        with pytest.raises(EngineError, match="outputs changed during timing"):
            loop.volley(in_flight=2, seconds=0.01)


def test_a_nan_that_the_evaluation_saw_is_left_to_accuracy() -> None:
    with loop_of(nan="1") as (loop, _):
        assert np.isnan(loop.evaluate()["logits"]).sum() == 3
        loop.measure(seconds=60, max_calls=4)


def _agree(now: np.ndarray, before: np.ndarray, precision: str = "fp32") -> None:
    check({"y": now}, {"y": before}, precision=precision)


def test_agreement_is_relative_to_the_size_of_the_output() -> None:
    before = np.full((4, 100), 1000, np.float32)
    _agree(before + np.float32(0.9), before)
    with pytest.raises(EngineError) as caught:
        _agree(before + np.float32(1.1), before)
    assert caught.value.expected == "at most 1 (0.001 of the RMS)"
    _agree(before + np.float32(1.1), before, "fp16")


def test_one_wrong_row_of_many_is_seen() -> None:
    before = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    now = before.copy()
    now[63] = before[0]
    with pytest.raises(EngineError, match="outputs changed during timing: 'y'"):
        _agree(now, before, "int8")


@pytest.mark.parametrize("now", [np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float64)])
def test_another_shape_or_type_is_a_change(now: np.ndarray) -> None:
    with pytest.raises(EngineError, match="outputs changed during timing: 'y'"):
        _agree(now, np.zeros((3, 2), np.float32))


def test_another_set_of_tensors_is_a_change() -> None:
    with pytest.raises(EngineError, match="its names"):
        check({}, {"y": np.zeros(1)}, precision="fp32")


def test_all_nan_twice_is_no_change() -> None:
    _agree(np.array([np.nan, np.inf]), np.array([np.inf, np.nan]))
