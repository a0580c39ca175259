"""A suite run again and again, with nothing changed: how often it is green, and how long it takes.

    python benchmarks/repeats.py [--runs 10] [--out benchmarks/data/repeats.json] [-- PYTEST ARGUMENTS]

Each run is a fresh ``python -m pytest suites --gpu-profile=cpu``. Prints one line per run, and writes every case's
verdict, ratio and interval after each, so that a run that is stopped keeps what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/data/repeats.json"))
    parser.add_argument("pytest", nargs="*", default=["suites", "--gpu-profile=cpu"])
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    print("| run | exit | s | verdicts | load before |")
    print("|---|---|---|---|---|")
    for number in range(1, arguments.runs + 1):
        done.append(run(arguments.pytest))
        arguments.out.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        last = done[-1]
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in last["verdicts"].items())
        print(f"| {number} | {last['exit']} | {last['seconds']:.0f} | {verdicts} | {last['load']} |", flush=True)
    green = sum(each["exit"] == 0 for each in done)
    print(f"green: {green} of {len(done)}; median {median(each['seconds'] for each in done):.0f} s")


def run(pytest: list[str]) -> dict[str, Any]:
    """Run the suite once and return what came of it."""
    load = round(os.getloadavg()[0], 2)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", *pytest, f"--gpu-out={folder}/out", "-q"]
        status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
        seconds = time.monotonic() - started
        cases = json.loads(Path(folder, "out", "results.json").read_text(encoding="utf-8"))["cases"]
    return {
        "exit": status,
        "seconds": round(seconds, 1),
        "load": load,
        "verdicts": dict(Counter(case["verdict"] for case in cases).most_common()),
        "cases": [_short(case) for case in cases],
    }


def _short(case: dict[str, Any]) -> dict[str, Any]:
    compared = case["comparison"] or {}
    kept = ("ratio", "lower", "upper", "pairs", "seconds", "expected")
    numbers = {key: round(compared[key], 4) for key in kept if key in compared}
    reason = {} if case["verdict"] == "passed" else {"reason": case["reason"]}
    return {"id": case["id"], "verdict": case["verdict"], "took": round(case["seconds"], 1), **numbers, **reason}


if __name__ == "__main__":
    main()
