"""What the plugin costs those who do not use it: its import, and a pytest session without one gpuperf test.

    python benchmarks/startup.py [--repeats 21]

Every number is the median over fresh processes; the plugin's sides alternate with the sides without it. Wanted: import
below 20 ms, a session below 50 ms.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

IMPORT = """
import pytest, _pytest.terminal, _pytest.junitxml, argparse, dataclasses, pathlib, sys, time
started = time.perf_counter()
import pytest_gpuperf.plugin
print(1000 * (time.perf_counter() - started))
heavy = {"numpy", "scipy", "msgspec", "tensorflow", "keras", "onnx", "onnxruntime", "tensorrt", "pynvml", "jinja2"}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
#: Other installed plugins are left out of both sides: their seconds would hide our milliseconds.
SIDES = {"with the plugin": ["-p", "pytest_gpuperf.plugin"], "without": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=21)
    repeats = parser.parse_args().repeats
    imports = [float(_python("-c", IMPORT)) for _ in range(repeats)]
    sessions: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        Path(folder, "pytest.ini").write_text("[pytest]\n")
        for repeat in range(repeats):
            for side in sorted(SIDES, reverse=bool(repeat % 2)):
                started = time.perf_counter()
                _python("-m", "pytest", "-q", "-p", "no:cacheprovider", *SIDES[side], cwd=folder)
                sessions[side].append(1000 * (time.perf_counter() - started))
    with_it, without = (median(sessions[side]) for side in SIDES)
    differences = [one - other for one, other in zip(*(sessions[side] for side in SIDES), strict=True)]
    print(f"| what | ms, median of {repeats} | bar |")
    print("|---|---|---|")
    print(f"| import of the plugin, pytest imported before | {median(imports):.1f} | 20 |")
    print(f"| session of one empty test, without the plugin | {without:.0f} | |")
    print(f"| the same with the plugin | {with_it:.0f} | |")
    print(f"| difference of the runs side by side | {median(differences):.1f} | 50 |")


def _python(*arguments: str, cwd: str | None = None) -> str:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "COVERAGE"))}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environ, check=True, capture_output=True, text=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
