"""The interop tests against each version of pytest-benchmark: `python benchmarks/interop.py [VERSION …]`.

Each version is installed beside the environment, in a folder of its own, and found first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

VERSIONS = ("4.0.0", "5.0.1", "5.1.0", "5.2.3", "5.3.1")
ROOT = Path(__file__).parents[1]
INSTALL = ("uv", "pip", "install", "--quiet", "--python", sys.executable, "--no-deps")


def beside(version: str) -> list[str]:
    """Return what a version needs: the fixture of those before 5.3 reads what pytest 9 has no more."""
    return ["pytest==8.4.2"] if version < "5.3" else []


def main() -> int:
    failed = 0
    for version in sys.argv[1:] or VERSIONS:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([*INSTALL, "--target", folder, f"pytest-benchmark=={version}", *beside(version)], check=True)
            path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
            environ = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
            code = "import pytest_benchmark; print(pytest_benchmark.__version__, pytest_benchmark.__file__)"
            found = subprocess.run(
                [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
            )
            assert found.stdout.split() == [version, str(Path(folder) / "pytest_benchmark" / "__init__.py")]
            tests = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "tests/plugin/test_pytest_benchmark.py",
            ]
            done = subprocess.run(tests, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
            print(version, done.stdout.strip().splitlines()[-1], flush=True)
            if done.returncode:
                print(done.stdout)
            failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
