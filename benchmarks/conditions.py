"""Do reruns of the same case have the same conditions? Each rerun is a fresh process that asks everything anew.

    python benchmarks/conditions.py --reruns 50

Every rerun starts its own interpreter, probes the machine, starts a measuring process of its own, opens ONNX Runtime on
the digits model and collects the conditions. The first rerun stands for the baseline; each further one must neither
mismatch nor widen. Then the same with a change planted, to see that a difference would have shown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_gpuperf import conditions, hardware
from pytest_gpuperf.records import BatchSpec, EngineSpec, Model
from pytest_gpuperf.worker.client import Worker

SUITE = Path(__file__).parents[1] / "suites" / "digits"
MODEL = Model(name="digits", source="model.py:build", inputs="model.py:inputs", root=str(SUITE))


def collect(folder: Path, threads: str) -> dict[str, str]:
    """Ask this machine and a fresh measuring process what a baseline would be tied to."""
    engine = EngineSpec(kind="onnxruntime", model=MODEL, options={"threads": threads})
    batches = BatchSpec(inputs=MODEL.inputs, batch=8, samples=320, root=MODEL.root)
    worker = Worker.start(log=folder / "log")
    try:
        info = worker.open(engine, batches, cache=folder / "cache", progress=lambda _: None)
        return conditions.collect(engine, batches, info, hardware.fingerprint(), worker.inputs_digest)
    finally:
        worker.stop()


def rerun(folder: Path, threads: str = "1") -> dict[str, str]:
    """Collect in a process of its own."""
    command = [sys.executable, __file__, "--collect", str(folder), "--threads", threads]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reruns", type=int, default=50)
    parser.add_argument("--collect", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--threads", default="1", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.collect:
        print(json.dumps(collect(args.collect, args.threads)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        first = rerun(folder)
        found = [conditions.diff(rerun(folder), first) for _ in range(args.reruns)]
        planted = conditions.diff(rerun(folder, threads="2"), first)
    print("| reruns | conditions | mismatched | widened | recorded | planted thread count |")
    print("|---|---|---|---|---|---|")
    counts = [sum(bool(getattr(one, kind)) for one in found) for kind in ("mismatched", "widening", "recorded")]
    print(f"| {len(found)} | {len(first)} | {' | '.join(map(str, counts))} | {', '.join(sorted(planted.mismatched))} |")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
