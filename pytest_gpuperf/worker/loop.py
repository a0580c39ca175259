"""Timed calls of one engine: evaluate, warm up, one in flight, many in flight.

What is timed is ``Binding.run`` and nothing else: stamps go to an array that was made before, the collector rests, and
whatever must be checked is checked after the block.
"""

from __future__ import annotations

import gc
import math
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle
from statistics import mean, median, variance
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from pytest_gpuperf.errors import EngineError
from pytest_gpuperf.records import Block, Steady, Volley
from pytest_gpuperf.worker import memory
from pytest_gpuperf.worker.agreement import check

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_gpuperf.engines.base import Arrays, Engine

#: A warm-up group is as many calls as fit into this time, at least one.
GROUP_S = 0.1
#: Fewest groups that must agree before the engine counts as steady.
WINDOW = 4
#: Largest difference between the later and the earlier half of the window: the trend.
MAX_DRIFT_PCT = 3.0
#: Largest difference between any two groups of a short window.
MAX_SPREAD_PCT = 10.0
#: Groups from which on the window tells a trend from noise, so that a noisy engine is not called unsteady for ever.
LONG_WINDOW = 6
#: Standard errors that noise explains: Student's t, 95 %, for two halves of three groups each.
NOISE = 2.8
#: Share of a warm-up's CPU time that other threads may have had while the calling one still does all the work.
OTHERS = 0.05
#: How often a volley looks whether all of its lanes have completed a call: rarely, it takes time from them.
POLL_S = 0.01
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
        self._expected: dict[int, dict[str, NDArray[np.generic]]] = {}
        self._evaluated: list[float] = []
        self._next = 0
        self._is_alone = True
        # What is alive now stays alive: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    def evaluate(self) -> dict[str, NDArray[np.generic]]:
        """Run every batch once and return the outputs in order, each ``(samples, …)``; long calls count as warm-up."""
        self._evaluated = []
        for index, binding in enumerate(self._bindings[: len(self._batches)]):
            before = perf_counter_ns()
            binding.run()
            taken = perf_counter_ns() - before
            self._expected[index] = binding.outputs()
            if taken >= GROUP_S * 1e9:  # a call that fills a group is one
                self._evaluated.append(taken)
        found = [self._expected[index] for index in range(len(self._batches))]
        return {name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]}

    def profile(self, *, calls: int) -> dict[str, float]:
        """Return how long each layer takes on the first batch, in milliseconds; nothing is to be timed afterwards."""
        return self._engine.profile(self._batches[0], calls=calls)

    def warm_up(self, *, max_s: float) -> Steady:
        """Run groups of calls until the last groups agree and show no trend, or ``max_s`` seconds have passed.

        There is no fixed count: lazily loaded kernels, growing allocators and rising clocks take what they take.
        """
        started, used_ns, own_ns = time.monotonic(), time.process_time_ns(), time.thread_time_ns()
        medians: list[float] = [*self._evaluated]
        runs = 0
        while True:
            block = self._time(seconds=GROUP_S, max_calls=MAX_CALLS, device=False)
            runs += len(block.host_ns)
            medians.append(median(block.host_ns))
            elapsed = time.monotonic() - started
            drift, steady = _judge(medians)
            if steady or elapsed >= max_s:
                used_ns, own_ns = time.process_time_ns() - used_ns, time.thread_time_ns() - own_ns
                self._is_alone = used_ns - own_ns < OTHERS * used_ns
                return Steady(is_steady=steady, warmup_runs=runs, warmup_s=elapsed, drift_pct=drift)

    def measure(self, *, seconds: float, max_calls: int, core: int | None = None) -> Block:
        """Time calls, one in flight, until ``seconds`` have passed or ``max_calls`` were made; at least one.

        With a ``core``, this thread stays on it meanwhile, unless the warm-up has shown that the engine's other threads
        work too: they could be waiting for the very same core.

        Raises:
            EngineError: the outputs of the last call are not those that the same batch gave before.
        """
        info, cpu_ns = self._engine.info, time.process_time_ns()
        with _staying_on(core if self._is_alone else None):
            block = self._time(seconds=seconds, max_calls=max_calls, device=info is not None and info.has_device_clock)
        self._check((self._next - 1) % len(self._bindings))
        return replace(block, cpu_ns=time.process_time_ns() - cpu_ns)  # all that we did is no foreign load

    def volley(self, *, in_flight: int, seconds: float) -> Volley:
        """Keep ``in_flight`` calls outstanding, each from a thread with bindings of its own.

        The window begins when every lane has completed a call (ramp-up is not counted), lasts at least ``seconds``, and
        ends when every lane has completed one more; until then all lanes run. Beginning and end are completions, so
        long calls are not cut, and one window serves all lanes: a lane that the system starved counts for what it did,
        not for how fast it was while it ran.

        Raises:
            EngineError: a lane failed, or its outputs changed while it was timed.
        """
        while len(self._bindings) < in_flight:
            self._bindings.append(self._engine.bind(self._batches[len(self._bindings) % len(self._batches)]))
        shares = [range(lane, len(self._bindings), in_flight) for lane in range(in_flight)]
        lanes = [_Lane([self._bindings[index].run for index in share]) for share in shares]
        with _quiet():
            began, ended = _race(lanes, seconds)
        for share, lane in zip(shares, lanes, strict=True):
            self._check(share[lane.last])
        calls = sum(began < stamp <= ended for lane in lanes for stamp in lane.stamps)
        seconds = (ended - began) / 1e9
        return Volley(in_flight=in_flight, calls=calls, batch=self._batch, seconds=seconds, held_mib=memory.held())

    def close(self) -> None:
        """Drop the bindings, so that the engine can be freed."""
        self._bindings.clear()
        self._expected.clear()

    def _time(self, *, seconds: float, max_calls: int, device: bool) -> Block:
        bindings = self._bindings[: len(self._batches)]
        runs = [binding.run for binding in bindings]
        size = max(1, min(max_calls, MAX_CALLS))
        host = array("q", bytes(8 * size))
        by_device = array("q", bytes(8 * size if device else 0))
        index, count, calls = self._next % len(runs), len(runs), 0
        with _quiet():
            started = time.monotonic_ns()
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
            ended = time.monotonic_ns()
        self._next = index
        return Block(
            host_ns=tuple(host[:calls]),
            device_ns=tuple(by_device[:calls]),
            started_ns=started,
            ended_ns=ended,
        )

    def _check(self, index: int) -> None:
        """Hold the last outputs of a binding against what its batch gave in the evaluation, else the time before."""
        binding, batch, info = self._bindings[index], index % len(self._batches), self._engine.info
        outputs = binding.outputs()
        check(outputs, self._expected.setdefault(batch, outputs), precision=info.precision if info else "fp32")


class _Lane:
    """One thread of a volley: the runs it rotates over and the times at which they were completed."""

    def __init__(self, runs: Sequence[Callable[[], None]]) -> None:
        self.runs = runs
        self.stamps: list[int] = []
        self.last = 0
        self.error: Exception | None = None

    def run(self, stop: threading.Event) -> None:
        try:
            for index, run in cycle(enumerate(self.runs)):
                run()
                self.stamps.append(perf_counter_ns())
                self.last = index
                if stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            self.error = error
            stop.set()

    def completed_after(self, moment: int) -> bool:
        return bool(self.stamps) and self.stamps[-1] > moment


def _race(lanes: Sequence[_Lane], seconds: float) -> tuple[int, int]:
    """Run the lanes side by side and return the window, in ``perf_counter_ns``."""
    stop = threading.Event()
    threads = [threading.Thread(target=lane.run, args=(stop,), daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    _wait_for_all(lanes, 0, stop)
    stop.wait(seconds)
    over = perf_counter_ns()
    _wait_for_all(lanes, over, stop)
    stop.set()
    for thread in threads:
        thread.join()
    for lane in lanes:
        if lane.error is not None:
            raise lane.error
    began = max(lane.stamps[0] for lane in lanes)
    ended = max(next(stamp for stamp in lane.stamps if stamp > over) for lane in lanes)
    return began, ended


def _wait_for_all(lanes: Sequence[_Lane], moment: int, stop: threading.Event) -> None:
    """Wait until every lane has completed a call after ``moment``, or one has failed."""
    while not all(lane.completed_after(moment) for lane in lanes) and not stop.wait(POLL_S):
        pass


def _judge(medians: Sequence[float]) -> tuple[float, bool]:
    """Return the drift over the later groups in percent (negative = getting faster) and whether it is steady.

    Steady is what shows no trend: in a short window all groups lie close together; in a long one the halves differ by
    no more than their noise explains. Noise itself is not unsteadiness; the comparison's interval answers for it.
    """
    window = medians[-max(WINDOW, len(medians) - len(medians) // 4) :]  # the first quarter may be as it likes
    if len(window) < WINDOW:
        return 0.0, False
    half = len(window) // 2
    early, late = window[:half], window[-half:]
    drift = (mean(late) / mean(early) - 1) * 100
    spread = (max(window) / min(window) - 1) * 100
    if abs(drift) <= MAX_DRIFT_PCT and spread <= MAX_SPREAD_PCT:
        return drift, True
    noise = NOISE * math.sqrt((variance(early) + variance(late)) / half) / mean(early) * 100
    return drift, len(window) >= LONG_WINDOW and abs(drift) <= noise


@contextmanager
def _staying_on(core: int | None) -> Iterator[None]:
    """Keep the calling thread on one processor."""
    if core is None:
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


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
