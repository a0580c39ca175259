"""MLPerf LoadGen, in a process of its own: ``python -m pytest_gpuperf.serving.traffic FOLDER`` is the child's side.

LoadGen cannot be stopped and keeps global state, so each run gets a fresh process, which can be ended. Latencies count
from the scheduled arrival: a server that stalls delays everybody who would have come meanwhile, and they are counted.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec

from pytest_gpuperf.errors import ConfigError, WorkerError
from pytest_gpuperf.serving import detail
from pytest_gpuperf.serving.plan import Target, Traffic, Trial
from pytest_gpuperf.worker import death, environment

ORDER, RESULT, LOG = "order.json", "trial.json", "traffic.log"
#: Lost requests after which the rest of a run is not sent any more.
GIVE_UP = 10
#: Seconds for starting, loading samples and writing results.
MARGIN_S = 60.0
_WATCH_S = 0.2
_NICE = -10
_PR_SET_TIMERSLACK = 29  # linux/prctl.h; nanoseconds, 50 000 by default
_SCENARIOS = {"single_stream": "SingleStream", "multi_stream": "MultiStream", "server": "Server", "offline": "Offline"}
_SAMPLE = re.compile(r'"name":"Sample".*"ph":\s*"b".*"ts":([-\d.]+).*"issue_start_ns":(-?\d+),"complete_ns":(-?\d+)')


class System(Protocol):
    """What LoadGen loads."""

    samples: int

    def submit(self, index: int, done: Callable[[], None], fault: Callable[[str], None]) -> None:
        """Ask for one sample and return at once; call ``done`` when it is answered, ``fault`` if it was not well."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the child is told."""

    traffic: Traffic
    target: Target


def run(traffic: Traffic, target: Target, *, folder: Path) -> Trial:
    """Run LoadGen once against a target, in a child, and return what it gave.

    Args:
        traffic: what to send.
        target: whom to.
        folder: for this run alone: its order, its logs, its result. LoadGen finds no ``audit.config`` here.

    Raises:
        ConfigError: LoadGen is not installed, or the target cannot be made.
        WorkerError: the load generator died, or did not end in time.
    """
    folder.mkdir(parents=True)
    (folder / ORDER).write_bytes(msgspec.json.encode(Order(traffic=traffic, target=target)))
    expected_s = max(traffic.seconds, traffic.queries / max(traffic.rate_qps, 1e-9))
    deadline_s = 4 * expected_s + (GIVE_UP + 2) * traffic.lost_after_s + MARGIN_S
    with (folder / LOG).open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
            [sys.executable, "-m", "pytest_gpuperf.serving.guard", sys.executable, "-m", __name__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=environment.build(sys.executable, None),
            start_new_session=True,
        )
    try:
        status = process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        raise WorkerError(
            f"the load generator did not end within {deadline_s:g} s; it was ended", hint=f"see {folder / LOG}"
        ) from None
    finally:
        process.kill()
        process.wait()
    if status or not (folder / RESULT).exists():
        raise _failure(status, folder)
    return msgspec.json.decode((folder / RESULT).read_bytes(), type=Trial)


def _failure(status: int, folder: Path) -> ConfigError | WorkerError:
    lines = death.tail(folder / LOG)
    got = "\n            ".join(lines) or None
    if any("mlperf_loadgen" in line and "No module" in line for line in lines):
        return ConfigError("MLPerf LoadGen is not installed", got=got, hint="pip install 'pytest-gpuperf[serving]'")
    return WorkerError(f"the load generator {death.describe(status)}", got=got, hint=f"see {folder / LOG}")


class Ledger:
    """Who has been asked and has not answered yet; what is overdue is lost, so that no run waits forever.

    Args:
        complete: tells LoadGen that a query's sample is answered.
        lost_after_s: when it is overdue.
        in_flight: most that may be outstanding.
    """

    def __init__(self, complete: Callable[[int], None], *, lost_after_s: float, in_flight: int) -> None:
        self.faults: dict[str, int] = {}
        self._complete = complete
        self._lost_after_ns = int(lost_after_s * 1e9)
        self._asked: dict[int, int] = {}
        self._room = threading.Semaphore(in_flight)
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    def ask(self, sample: int) -> bool:
        """Note that a sample is asked for, when there is room; ``False`` when nothing is sent any more."""
        if self.faults.get("lost", 0) >= GIVE_UP:
            self._complete(sample)
            self.fault("not sent")
            return False
        self._room.acquire()
        self._asked[sample] = time.monotonic_ns()
        return True

    def done(self, sample: int) -> None:
        """Complete a sample, once."""
        if self._asked.pop(sample, None) is not None:
            self._room.release()
            self._complete(sample)

    def fault(self, word: str) -> None:
        """Count a request that was not answered as it should."""
        with self._lock:
            self.faults[word] = self.faults.get(word, 0) + 1

    def _watch(self) -> None:
        while True:
            time.sleep(_WATCH_S)
            overdue = time.monotonic_ns() - self._lost_after_ns
            for sample in [sample for sample, asked in list(self._asked.items()) if asked < overdue]:
                self.fault("lost")
                self.done(sample)


def serve(order: Order, folder: Path) -> Trial:
    """Run LoadGen in this process; the child's whole work."""
    import mlperf_loadgen as loadgen  # type: ignore[import-not-found,unused-ignore] # part of an extra

    traffic = order.traffic
    module, _, name = order.target.kind.partition(":")
    system: System = getattr(import_module(module), name)(**order.target.arguments)

    def complete(sample: int) -> None:
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample, 0, 0)])

    is_ours = traffic.scenario == "offline"  # elsewhere LoadGen decides how many are in flight, and must not be held up
    room = traffic.in_flight if is_ours else sys.maxsize
    ledger = Ledger(complete, lost_after_s=traffic.lost_after_s, in_flight=room)

    def issue(samples: list[Any]) -> None:
        for sample in samples:
            _submit(system, ledger, sample.id, sample.index)

    sut = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(system.samples, system.samples, lambda _: None, lambda _: None)
    loadgen.StartTestWithLogSettings(
        sut, library, settings(loadgen, traffic), _logs(loadgen, folder), str(folder / "no-audit.config")
    )
    time.sleep(0.05)  # answers are checked after they are counted
    trial = read(folder, traffic)
    return replace(trial, faults=dict(ledger.faults))


def _submit(system: System, ledger: Ledger, sample: int, index: int) -> None:
    if ledger.ask(sample):
        system.submit(index, lambda: ledger.done(sample), ledger.fault)


def settings(loadgen: Any, traffic: Traffic) -> Any:
    """Return LoadGen's settings of a run."""
    chosen = loadgen.TestSettings()
    chosen.scenario = getattr(loadgen.TestScenario, _SCENARIOS[traffic.scenario])
    chosen.mode = loadgen.TestMode.PerformanceOnly
    chosen.min_duration_ms = int(traffic.seconds * 1000)
    chosen.min_query_count = traffic.queries
    expected_ns = int(1e9 / traffic.rate_qps)
    limit_ns = int(traffic.limit_ms * 1e6)
    chosen.server_target_qps = chosen.offline_expected_qps = traffic.rate_qps
    chosen.server_target_latency_ns = limit_ns
    chosen.server_target_latency_percentile = traffic.percentile
    chosen.single_stream_expected_latency_ns = chosen.multi_stream_expected_latency_ns = expected_ns
    chosen.single_stream_target_latency_percentile = traffic.percentile
    chosen.multi_stream_target_latency_percentile = traffic.percentile
    chosen.multi_stream_samples_per_query = traffic.samples_per_query
    # Equal seeds give equal arrivals; these are ours, so that a run can be repeated.
    chosen.qsl_rng_seed, chosen.sample_index_rng_seed, chosen.schedule_rng_seed = (
        traffic.seed + 1,
        traffic.seed + 2,
        traffic.seed + 3,
    )
    return chosen


def _logs(loadgen: Any, folder: Path) -> Any:
    where = loadgen.LogOutputSettings()
    where.outdir = str(folder)
    where.prefix = "mlperf_"
    where.copy_summary_to_stdout = where.copy_detail_to_stdout = False
    logs = loadgen.LogSettings()
    logs.log_output = where
    logs.enable_trace = True  # the only place where LoadGen writes each sample's times
    return logs


def read(folder: Path, traffic: Traffic) -> Trial:
    """Read LoadGen's logs of a run; what the two of them do not agree on is a problem."""
    log = detail.read((folder / "mlperf_detail.txt").read_text(encoding="utf-8", errors="replace"))
    trace = (folder / "mlperf_trace.json").read_text(encoding="utf-8", errors="replace")
    rows = sorted((float(ts), int(late), int(ended)) for ts, late, ended in _SAMPLE.findall(trace))
    counted = log.values.get("result_query_count", 0) * log.values.get("effective_samples_per_query", 1)
    problems = list(log.problems)
    if counted != len(rows):
        problems.append(f"LoadGen counted {counted} samples and traced {len(rows)}")
    first_us = rows[0][0] if rows else 0.0
    last_us = max((ts + ended / 1e3 for ts, _, ended in rows), default=0.0)
    return Trial(
        traffic=traffic,
        latencies_ms=tuple(ended / 1e6 for _, _, ended in rows),
        arrivals_ms=tuple((ts - first_us) / 1e3 for ts, _, _ in rows),
        issue_delays_ms=tuple(late / 1e6 for _, late, _ in rows),
        seconds=(last_us - first_us) / 1e6,
        is_valid=log.is_valid and not problems,
        problems=tuple(problems),
    )


def _be_punctual() -> None:
    """Run before the server that is loaded where that is allowed, and wake up without the kernel's usual slack."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)


def main(folder: Path) -> None:
    """Do what the order in ``folder`` says."""
    order = msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)
    _be_punctual()
    trial = serve(order, folder)
    (folder / RESULT).write_bytes(msgspec.json.encode(trial))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stdout.flush()
    # Threads of gRPC and of LoadGen may hold answers that never came; what there was to say is on the disk.
    os._exit(0)
