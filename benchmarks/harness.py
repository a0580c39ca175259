"""Does the harness read a known length of work, and what does it add to a call?

    python benchmarks/harness.py [--seconds 5] [--json FILE]

The work is a spin by ``CLOCK_MONOTONIC_RAW``, a clock that the harness does not use, run in a real measuring process.
It says itself how long it took, so an interruption by the system is part of the truth and no error. Exit status 1 when
the 1 ms or 10 ms spin is read more than 1 % wrong, or when an empty call costs more than 10 µs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pytest_gpuperf.engines.base import Binding, Engine, Progress
from pytest_gpuperf.records import Artefact, BatchSpec, EngineInfo, EngineSpec, Model
from pytest_gpuperf.worker.client import Worker

if TYPE_CHECKING:
    from pytest_gpuperf.engines.base import Arrays

LENGTHS_MS = (0.1, 1.0, 10.0)
MAX_ERROR_PCT = 1.0
MAX_OVERHEAD_US = 10.0


class SpinEngine(Engine):
    """Spins for ``options["ms"]`` milliseconds; 0 = an empty call."""

    artefact_kind: ClassVar[str] = "none"
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)

    def _open(self, artefact: Artefact, cache: Path, progress: Progress) -> EngineInfo:  # noqa: ARG002
        return EngineInfo(
            kind="spin",
            device="cpu",
            provider="spin",
            precision="fp32",
            artefact=artefact,
            inputs=(),
            outputs=(),
            has_device_clock=self.spec.options["ms"] != "0",
        )

    def _bind(self, batch: Arrays) -> Binding:  # noqa: ARG002
        length_ns = round(float(self.spec.options["ms"]) * 1e6)
        return SpinBinding(length_ns) if length_ns else EmptyBinding()

    def _close(self) -> None:
        pass


class EmptyBinding(Binding):
    def run(self) -> None:
        pass

    def outputs(self) -> dict[str, Any]:
        return {"nothing": np.zeros(1, np.float32)}


class SpinBinding(EmptyBinding):
    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns

    def run(self) -> None:
        started = now = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        while now - started < self._length_ns:
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        self._took_ns = now - started

    def device_ns(self) -> int:
        """Return what the spin itself says that it took: longer than wanted where the system interrupted it."""
        return self._took_ns


def zeros(samples: int, seed: int) -> dict[str, Any]:  # noqa: ARG001
    """Return inputs that nobody looks at."""
    return {"x": np.zeros((samples, 1), np.float32)}


@contextmanager
def spinning(ms: float, folder: Path) -> Iterator[Worker]:
    model = Model(name="spin", source="none", inputs="harness.py:zeros", root=str(Path(__file__).parent))
    worker = Worker.start(log=folder / "log")
    try:
        spec = EngineSpec(kind="harness:SpinEngine", model=model, options={"ms": f"{ms:g}"})
        batches = BatchSpec(inputs=model.inputs, batch=1, samples=8, root=model.root)
        worker.open(spec, batches, cache=folder, progress=lambda _: None)
        worker.warm_up(max_s=2)
        yield worker
    finally:
        worker.stop()


def read_length(ms: float, seconds: float, folder: Path) -> dict[str, float]:
    """Return how a spin of ``ms`` milliseconds is read."""
    with spinning(ms, folder) as worker:
        block = worker.measure(seconds=seconds, max_calls=100_000)
    errors = sorted((read / took - 1) * 100 for read, took in zip(block.host_ns, block.device_ns, strict=True))
    return {
        "length_ms": ms,
        "calls": len(errors),
        "took_p50_ms": statistics.median(block.device_ns) / 1e6,
        "read_p50_ms": statistics.median(block.host_ns) / 1e6,
        "error_p50_pct": statistics.median(errors),
        "error_p99_pct": errors[len(errors) * 99 // 100],
    }


def read_overhead(seconds: float, folder: Path) -> dict[str, float]:
    """Return what an empty call costs: in the reading itself, per call of a block, and per call of a volley."""
    with spinning(0, folder) as worker:
        block = worker.measure(seconds=seconds, max_calls=1_000_000)
        volley = worker.volley(in_flight=1, seconds=min(seconds, 1.0))
    return {
        "calls": len(block.host_ns),
        "reading_us": statistics.median(block.host_ns) / 1e3,
        "block_us": (block.ended_ns - block.started_ns) / len(block.host_ns) / 1e3,
        "volley_us": volley.seconds / volley.calls * 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Read known lengths of work, and the cost of an empty call.")
    parser.add_argument("--seconds", type=float, default=5.0, help="measuring time per row")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lengths = [read_length(ms, arguments.seconds, Path(folder)) for ms in LENGTHS_MS]
        overhead = read_overhead(arguments.seconds, Path(folder))
    print("| spin | calls | p50 took | p50 read | error of a call, p50 | p99 |\n|---|---|---|---|---|---|")
    for row in lengths:
        print(
            f"| {row['length_ms']:g} ms | {row['calls']} | {row['took_p50_ms']:.5f} ms | {row['read_p50_ms']:.5f} ms "
            f"| {row['error_p50_pct']:+.3f} % | {row['error_p99_pct']:+.3f} % |"
        )
    print("\n| empty call | µs |\n|---|---|")
    print(f"| in the reading | {overhead['reading_us']:.2f} |")
    print(f"| per call of a block, all in | {overhead['block_us']:.2f} |")
    print(f"| per call of a volley, all in | {overhead['volley_us']:.2f} |")
    result = {"python": platform.python_version(), "lengths": lengths, "overhead": overhead}
    print(f"\n{json.dumps(result)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    wrong = any(abs(row["error_p50_pct"]) > MAX_ERROR_PCT for row in lengths if row["length_ms"] >= 1)
    return int(wrong or overhead["block_us"] > MAX_OVERHEAD_US)


if __name__ == "__main__":
    sys.exit(main())
