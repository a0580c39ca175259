"""Is the load generator right, and what does dynamic batching give? Real LoadGen, and for the second a real Triton.

    python benchmarks/serving.py md1 --minutes 4       p99 against M/D/1, and with a stall of 100 ms
    python benchmarks/serving.py batching               static batches against dynamic batching, with the batch curve

    … batching --engine fakes.device:Device --batches 1,2,4,8 --instances 2     on a stand-in for an accelerator

The lane of the first is tests/fakes/lane.py: 5 ms for every request, one after the other.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from pytest_gpuperf import inputs, stats  # noqa: E402
from pytest_gpuperf.records import BatchSpec, EngineSpec, Model  # noqa: E402
from pytest_gpuperf.serving import Batching, load, traffic  # noqa: E402
from pytest_gpuperf.serving.plan import Target, Traffic, Trial  # noqa: E402
from pytest_gpuperf.worker.client import Worker  # noqa: E402

SERVICE_MS = 5.0


def waiting_tail(t_ms: float, load_: float) -> float:
    """Return P(wait > t) of M/D/1: Erlang's (1909) series, summed with enough digits for its alternating terms."""
    from decimal import Decimal, getcontext

    getcontext().prec = 120
    rate, t, service = Decimal(load_) / Decimal(SERVICE_MS), Decimal(t_ms), Decimal(SERVICE_MS)
    below = sum(
        ((rate * (k * service - t)) ** k / math.factorial(k)) * (-rate * (k * service - t)).exp()
        for k in range(int(t_ms // SERVICE_MS) + 1)
    )
    return float(1 - (1 - Decimal(load_)) * below)


def p99_of_theory(load_: float) -> float:
    """Return the 99th percentile of the time from arrival to answer, by bisection."""
    low, high = 0.0, 1000.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if waiting_tail(middle, load_) > 0.01 else (low, middle)
    return SERVICE_MS + high


def lindley(trial: Trial, *, stall_at: int = -1, stall_ms: float = 0.0) -> list[float]:
    """Return the latencies that a perfect load generator would see at these arrivals: Lindley's (1952) recursion."""
    free, held, found = 0.0, 0.0, []
    for number, arrival in enumerate(trial.arrivals_ms):
        if number == stall_at:
            held = arrival + stall_ms
        free = max(free, arrival, held) + SERVICE_MS
        found.append(free - arrival)
    return found


def p99(values: list[float] | tuple[float, ...]) -> float:
    return stats.percentile(values, 0.99)


def run_lane(load_: float, seconds: float, seed: int, **faults: str) -> Trial:
    plan = Traffic(
        scenario="server", rate_qps=load_ * 1e3 / SERVICE_MS, seconds=seconds, limit_ms=1000, seed=seed, lost_after_s=30
    )
    target = Target(kind="fakes.lane:Lane", arguments={"service_ms": str(SERVICE_MS), **faults})
    with tempfile.TemporaryDirectory() as folder:
        return traffic.run(plan, target, folder=Path(folder) / "run")


def md1(minutes: float, lanes: int) -> None:
    """Compare with theory; several lanes at once, each with a schedule of its own, make the time shorter."""
    print("| load | requests | p99 measured | M/D/1 | difference | same arrivals, computed | difference | late p99 |")
    print("|---|---|---|---|---|---|---|---|")
    for load_ in (0.2, 0.4, 0.6, 0.8):
        with ThreadPoolExecutor(lanes) as pool:
            jobs = [pool.submit(run_lane, load_, 60 * minutes / lanes, 100 * seed) for seed in range(lanes)]
            trials = [job.result() for job in jobs]
        report(f"{load_:.0%}", trials, [lindley(trial) for trial in trials], p99_of_theory(load_))
    print("\nOne stall of 100 ms, load 60 %, 30 s:\n")
    for name, holds in (("the lane stands still", "no"), ("the thread that asks stands still", "yes")):
        faults = {"stall_at": "1000", "stall_ms": "100", "holds_issuer": holds}
        trial = run_lane(0.6, 30, 7, **faults)
        computed = lindley(trial, stall_at=1000, stall_ms=100)
        closed = [ms - late for ms, late in zip(trial.latencies_ms, trial.issue_delays_ms, strict=True)]
        print(
            f"- {name}: p99 {p99(trial.latencies_ms):.2f} ms, computed for the same arrivals {p99(computed):.2f} ms "
            f"({p99(trial.latencies_ms) / p99(computed) - 1:+.1%}); "
            f"counted from the asking instead: {p99(closed):.2f} ms"
        )


def report(name: str, trials: list[Trial], computed: list[list[float]], theory: float) -> None:
    measured = [ms for trial in trials for ms in trial.latencies_ms]
    ideal = [ms for values in computed for ms in values]
    late = [ms for trial in trials for ms in trial.issue_delays_ms]
    print(
        f"| {name} | {len(measured)} | {p99(measured):.2f} ms | {theory:.2f} ms | {p99(measured) / theory - 1:+.1%} "
        f"| {p99(ideal):.2f} ms | {p99(measured) / p99(ideal) - 1:+.1%} | {p99(late):.2f} ms |",
        flush=True,
    )


def batching(folder: Path, kind: str, batches: tuple[int, ...], instances: int) -> None:
    """Static batches (one client, one batch in flight) against one-sample requests that Triton gathers."""
    model = Model(
        name="digits", source="digits/model.py:build", inputs="digits/model.py:inputs", root=str(ROOT / "suites")
    )
    spec = EngineSpec(kind=kind, model=model, max_batch=max(batches), options={} if ":" in kind else {"threads": "1"})
    samples = BatchSpec(inputs=model.inputs, batch=1, samples=4 * max(batches), root=model.root)
    cache = ROOT / ".gpuperf" / "cache"
    worker = Worker.start(log=folder / "worker.log")
    info = worker.open(spec, samples, cache=cache, progress=print)
    answers = worker.evaluate()
    print("| batch | engine alone, samples/s | through Triton, one batch in flight |")
    print("|---|---|---|")
    alone = {}
    for batch in batches:
        worker.open(
            spec,
            BatchSpec(inputs=model.inputs, batch=batch, samples=4 * batch, root=model.root),
            cache=cache,
            progress=print,
        )
        worker.warm_up(max_s=2)
        alone[batch] = batch / median(worker.measure(seconds=1, max_calls=10**6).host_ns) * 1e9
    worker.stop()
    arrays = inputs.load(samples).arrays
    most = max(batches)
    with load.supervised(
        folder / "off",
        spec,
        info,
        Batching(max_batch=most, instances=instances, is_dynamic=False),
        cache=cache,
        log=folder / "off.log",
    ) as server:
        static = {batch: _static(server.url, arrays, batch) for batch in batches}
        for batch in batches:
            print(f"| {batch} | {alone[batch]:.0f} | {static[batch]:.0f} |", flush=True)
        unbatched = _many(server, arrays, answers, folder / "runs-off", most).sps
    print(f"\nrequests of one sample, many in flight, no batching: {unbatched:.0f} samples/s")
    with load.supervised(
        folder / "on", spec, info, Batching(max_batch=most, instances=instances), cache=cache, log=folder / "on.log"
    ) as server:
        loaded = _many(server, arrays, answers, folder / "runs-on", most)
    best = max(static.values())
    print(f"requests of one sample, many in flight, dynamic batching: {loaded.sps:.0f} samples/s")
    print(
        f"dynamic over none: {loaded.sps / unbatched:.2f}; dynamic over the best static batch: {loaded.sps / best:.2f}"
    )


def _static(url: str, arrays: dict, batch: int) -> float:
    import time

    from pytest_gpuperf.serving.kserve import Client

    with Client(url) as client:
        request = client.request("digits", {name: array[:batch] for name, array in arrays.items()})
        for _ in range(20):
            client.infer(request)
        started, calls = time.monotonic(), 0
        while time.monotonic() - started < 2:
            client.infer(request)
            calls += 1
        return batch * calls / (time.monotonic() - started)


def _many(server: load.Server, arrays: dict, answers: dict, folder: Path, most: int) -> Trial:
    depth = load.in_flight(Batching(max_batch=most))
    with load.Load(server, arrays, answers, folder=folder, model="digits", in_flight=depth) as loaded:
        loaded.warm_up()
        trial = loaded.saturate()
        print(f"  {trial.counted}; failed {trial.failed}")
        return trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("md1", "batching"))
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--batches", default="1,2,4,8,16,32,64")
    args = parser.parse_args()
    if args.what == "md1":
        md1(args.minutes, args.lanes)
    else:
        with tempfile.TemporaryDirectory() as folder:
            batching(Path(folder), args.engine, tuple(int(part) for part in args.batches.split(",")), args.instances)


if __name__ == "__main__":
    main()
