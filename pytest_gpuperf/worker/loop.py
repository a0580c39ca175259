"""Timed calls of one engine: evaluate, warm up, one in flight, many in flight.

What is timed is ``Binding.run`` and nothing else: stamps go to an array that was made before, the collector rests, and
whatever must be checked is checked after the block.
"""

from __future__ import annotations

import gc
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from pytest_gpuperf.errors import EngineError
from pytest_gpuperf.records import Block, Steady, Volley
from pytest_gpuperf.worker.agreement import check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_gpuperf.engines.base import Arrays, Engine

#: A warm-up group is as many calls as fit into this time, at least one.
GROUP_S = 0.1
#: Groups that must agree before the engine counts as steady.
WINDOW = 4
#: Largest difference between the later and the earlier half of the window: the trend.
MAX_DRIFT_PCT = 3.0
#: Largest difference between any two groups of the window: the noise.
MAX_SPREAD_PCT = 10.0
#: Stamps that one block can hold (8 MB).
MAX_CALLS = 1_000_000


class Loop:
    """Runs an open engine over its rotating batches.

    Args:
        engine: open.
        batches: arrays of each batch, in order; all of them are bound at once.
        batch: samples per call.
    """

    def __init__(self, engine: Engine, batches: Sequence[Arrays], *, batch: int) -> None:
        if not batches:
            raise EngineError("the input set has no batch")
        self._engine = engine
        self._batches = batches
        self._batch = batch
        self._bindings = [engine.bind(arrays) for arrays in batches]
        self._expected: list[dict[str, NDArray[np.generic]]] = []
        self._next = 0
        # What is alive now stays alive: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    def evaluate(self) -> dict[str, NDArray[np.generic]]:
        """Run every batch once and return the outputs in order, each ``(samples, …)``."""
        self._expected = []
        for binding in self._bindings[: len(self._batches)]:
            binding.run()
            self._expected.append(binding.outputs())
        return {name: np.concatenate([outputs[name] for outputs in self._expected]) for name in self._expected[0]}

    def warm_up(self, *, max_s: float) -> Steady:
        """Run groups of calls until the last groups agree and show no trend, or ``max_s`` seconds have passed.

        There is no fixed count: lazily loaded kernels, growing allocators and rising clocks take what they take.
        """
        started = time.monotonic()
        medians: list[float] = []
        runs = 0
        while True:
            block = self._time(seconds=GROUP_S, max_calls=MAX_CALLS, device=False)
            runs += len(block.host_ns)
            medians.append(median(block.host_ns))
            elapsed = time.monotonic() - started
            drift, steady = _judge(medians[-WINDOW:])
            if steady or elapsed >= max_s:
                return Steady(is_steady=steady, warmup_runs=runs, warmup_s=elapsed, drift_pct=drift)

    def measure(self, *, seconds: float, max_calls: int) -> Block:
        """Time calls, one in flight, until ``seconds`` have passed or ``max_calls`` were made; at least one.

        Raises:
            EngineError: the outputs of the last call are not those that :meth:`evaluate` saw for the same batch.
        """
        if not self._expected:
            self.evaluate()
        info = self._engine.info
        block = self._time(seconds=seconds, max_calls=max_calls, device=info is not None and info.has_device_clock)
        self._check((self._next - 1) % len(self._bindings))
        return block

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        """Keep ``in_flight`` calls outstanding, each from a thread with bindings of its own.

        A lane's first call is ramp-up and not counted; its rate is the calls after that over the time between its
        first and last completion. Lanes run on, uncounted, until all of them are done, so that no counted call has the
        machine to itself. ``seconds`` of the result is such that ``calls / seconds`` is the sum of the lanes' rates.

        Raises:
            EngineError: a lane failed, or its outputs changed while it was timed.
        """
        if not self._expected:
            self.evaluate()
        while len(self._bindings) < in_flight:
            self._bindings.append(self._engine.bind(self._batches[len(self._bindings) % len(self._batches)]))
        shares = [range(lane, len(self._bindings), in_flight) for lane in range(in_flight)]
        lanes = [_Lane([self._bindings[index].run for index in share]) for share in shares]
        with _quiet():
            _race(lanes, seconds)
        for share, lane in zip(shares, lanes, strict=True):
            self._check(share[lane.last])
        counted = [len(lane.stamps) - 1 for lane in lanes]
        rate = sum(n / (lane.stamps[-1] - lane.stamps[0]) for n, lane in zip(counted, lanes, strict=True))
        return Volley(in_flight=in_flight, calls=sum(counted), batch=self._batch, seconds=sum(counted) / rate / 1e9)

    def close(self) -> None:
        """Drop the bindings, so that the engine can be freed, and let the collector see everything again."""
        self._bindings.clear()
        self._expected.clear()
        gc.unfreeze()
        gc.collect()

    def _time(self, *, seconds: float, max_calls: int, device: bool) -> Block:
        bindings = self._bindings[: len(self._batches)]
        runs = [binding.run for binding in bindings]
        size = max(1, min(max_calls, MAX_CALLS))
        host = array("q", bytes(8 * size))
        by_device = array("q", bytes(8 * size if device else 0))
        index, count, calls = self._next % len(runs), len(runs), 0
        with _quiet():
            started, cpu = time.monotonic_ns(), time.process_time_ns()
            until = perf_counter_ns() + int(seconds * 1e9)
            while True:
                run = runs[index]
                before = perf_counter_ns()
                run()
                after = perf_counter_ns()
                host[calls] = after - before
                if device:
                    by_device[calls] = bindings[index].device_ns()
                index += 1
                if index == count:
                    index = 0
                calls += 1
                if calls == size or after >= until:
                    break
            cpu, ended = time.process_time_ns() - cpu, time.monotonic_ns()
        self._next = index
        return Block(
            host_ns=tuple(host[:calls]),
            device_ns=tuple(by_device[:calls]),
            started_ns=started,
            ended_ns=ended,
            cpu_ns=cpu,
        )

    def _check(self, index: int) -> None:
        info = self._engine.info
        check(
            self._bindings[index].outputs(),
            self._expected[index % len(self._batches)],
            precision=info.precision if info else "fp32",
        )


class _Lane:
    """One thread of a volley: the runs it rotates over and the times at which its counted calls ended."""

    def __init__(self, runs: Sequence[Callable[[], None]]) -> None:
        self.runs = runs
        self.stamps: list[int] = []
        self.last = 0
        self.error: Exception | None = None

    def run(self, until: int, waiting: threading.Semaphore, stop: threading.Event) -> None:
        is_counting = True
        try:
            for index, run in cycle(enumerate(self.runs)):
                run()
                now = perf_counter_ns()
                self.last = index
                if is_counting:
                    self.stamps.append(now)
                    if now >= until and len(self.stamps) > 1:
                        is_counting = False
                        waiting.release()
                if stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            self.error = error
            stop.set()
            waiting.release()


def _race(lanes: Sequence[_Lane], seconds: float) -> None:
    waiting, stop = threading.Semaphore(0), threading.Event()
    until = perf_counter_ns() + int(seconds * 1e9)
    threads = [threading.Thread(target=lane.run, args=(until, waiting, stop), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    for _ in threads:
        waiting.acquire()
        if stop.is_set():
            break
    stop.set()
    for thread in threads:
        thread.join()
    for lane in lanes:
        if lane.error is not None:
            raise lane.error


def _judge(medians: Sequence[float]) -> tuple[float, bool]:
    """Return the drift over the window in percent (negative = getting faster) and whether it is steady."""
    if len(medians) < 2:  # noqa: PLR2004 - a drift needs two
        return 0.0, False
    half = len(medians) // 2
    early, late = sum(medians[:half]) / half, sum(medians[-half:]) / half
    drift = (late / early - 1) * 100
    spread = (max(medians) / min(medians) - 1) * 100
    return drift, len(medians) == WINDOW and abs(drift) <= MAX_DRIFT_PCT and spread <= MAX_SPREAD_PCT


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the garbage collector out of the timed calls."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
