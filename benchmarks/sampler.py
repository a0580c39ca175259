"""What the telemetry sampler costs a measurement on this machine's CPU.

    python benchmarks/sampler.py [--pairs 50]

A fixed piece of NumPy work is timed with the sampler running and stopped (SIGSTOP), in alternating blocks; printed
are the median change of the block medians with its order-statistic bounds, and the CPU time that the sampler takes.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import time

import numpy as np

from pytest_gpuperf.telemetry import CPU_HZ, GPU_HZ, Sampler


def block(seconds: float, matrix: np.ndarray) -> float:
    """Return the median nanoseconds of one matrix product over about ``seconds``."""
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter_ns()
        matrix @ matrix
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123 - one line
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(hz: float, pairs: int) -> str:
    """Return one table row."""
    matrix = np.random.default_rng(0).standard_normal((256, 256), dtype=np.float32)
    changes = []
    with Sampler.start([os.getpid()], hz=hz) as sampler:
        time.sleep(1)
        block(1, matrix)
        used, began = cpu_seconds(sampler.pid), time.monotonic()
        time.sleep(5)
        share = 100 * (cpu_seconds(sampler.pid) - used) / (time.monotonic() - began)
        for index in range(pairs):
            medians = {}
            for is_on in (True, False) if index % 2 == 0 else (False, True):
                os.kill(sampler.pid, signal.SIGCONT if is_on else signal.SIGSTOP)
                medians[is_on] = block(0.4, matrix)
            changes.append(100 * (medians[True] / medians[False] - 1))
        os.kill(sampler.pid, signal.SIGCONT)
    ordered, n = sorted(changes), len(changes)
    low, high = ordered[max(0, int(n / 2 - 0.98 * n**0.5))], ordered[min(n - 1, int(n / 2 + 0.98 * n**0.5))]
    middle = statistics.median(changes)
    return f"| {hz:4.0f} Hz | {middle:+.2f} % | {low:+.2f} … {high:+.2f} % | {share:.1f} % of one core | {n} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=50)
    options = parser.parse_args()
    print("| sampler | change of the median | 95 % bounds | CPU time | block pairs |\n|---|---|---|---|---|")
    for hz in (CPU_HZ, GPU_HZ):
        print(measure(hz, options.pairs), flush=True)


if __name__ == "__main__":
    main()
