"""A throw-away repository with a suite of scripted engines, and the real plugin to run it with."""

from __future__ import annotations

import json
import os
from pathlib import Path

# NumPy and SciPy cannot be imported twice, and pytester forgets what a run imported: have them before.
import numpy.fft  # noqa: F401
import pytest
import scipy.special
import scipy.stats  # noqa: F401

from pytest_gpuperf import load
from pytest_gpuperf.cli import main
from pytest_gpuperf.worker import lock
from pytest_gpuperf.worker.client import Worker

TESTS = Path(__file__).parents[1]
SUITE = """
import pytest

from pytest_gpuperf import Budget, Model

FAKE = Model(name="fake", source="none", inputs="seeded.py:numbers")


@pytest.mark.gpuperf(model="fake")
@pytest.mark.parametrize("name", ["fast", "slow"])
def test_engine(engine, batched_inputs, gpuperf, name):
    scripted = engine(FAKE, "fakes.scripted:ScriptedEngine", script=f"{name}.json")
    reference = engine(FAKE, "fakes.scripted:ScriptedEngine", script="reference.json")
    gpuperf.check(scripted, batched_inputs("seeded.py:numbers", 8, samples=64), BUDGET, reference=reference)
"""
# The load of the machine must not decide what these tests find: times come from a scripted device clock, and the
# kernel's counters and the warm-up always say that all is quiet. xdist's workers read this file too.
QUIET = """
from pytest_gpuperf import load
from pytest_gpuperf.records import Steady
from pytest_gpuperf.worker.client import Worker

load.disturbances = lambda *arguments: ()
Worker.warm_up = lambda worker, *, max_s: Steady(is_steady=True, warmup_runs=1, warmup_s=0.0, drift_pct=0.0)
"""
APPROVED: list[bytes] = []


class Repository:
    """A suite of two cases, ``fast`` (1 ms) and ``slow`` (3 ms), against a reference of 2 ms."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        isolate(pytester, monkeypatch)
        self.pytester = pytester
        self.path = pytester.path
        plant(self.path)

    def budget(self, expression: str) -> None:
        """Write the suite with this budget."""
        write_suite(self.path, expression)

    def script(self, name: str, **options: str) -> None:
        """Set what an engine does from now on."""
        write_script(self.path, name, **options)

    def run(self, *arguments: str, seconds: float = 0.3) -> pytest.RunResult:
        """Run the suite in this process (the engines are in children of it anyway)."""
        return self.pytester.runpytest("--gpu-profile=cpu", f"--gpu-time-budget={seconds}", *arguments)

    def approve(self) -> None:
        """Have a baseline: measured and accepted once, and copied by the tests that come after."""
        path = self.path / "baselines" / "cpu" / "suite.json"
        if not APPROVED:
            self.run("--gpu-update=all")
            assert main(["accept", "--all", "--reason", "first numbers"]) == 0
            APPROVED.append(path.read_bytes())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(APPROVED[0])

    def results(self) -> dict[str, dict]:
        """Return results.json's cases by id."""
        return read_results(self.path)

    def verdicts(self) -> dict[str, str]:
        """Return verdict by case id."""
        return {case_id: case["verdict"] for case_id, case in self.results().items()}


def plant(folder: Path) -> None:
    """Write the suite, its inputs and what its engines do."""
    write_suite(folder, "Budget()")
    (folder / "seeded.py").write_text((TESTS / "fakes" / "inputs.py").read_text())
    (folder / "conftest.py").write_text(QUIET)
    for name, device_ms in (("fast", "1"), ("slow", "3"), ("reference", "2")):
        write_script(folder, name, device_ms=device_ms)


def write_suite(folder: Path, budget: str) -> None:
    """Write the suite with this budget, an expression."""
    (folder / "test_suite.py").write_text(SUITE.replace("BUDGET", budget))


def write_script(folder: Path, name: str, **options: str) -> None:
    """Set what an engine does from now on."""
    (folder / f"{name}.json").write_text(json.dumps(options))


def read_results(folder: Path) -> dict[str, dict]:
    """Return results.json's cases by id."""
    document = json.loads((folder / ".gpuperf" / "results.json").read_text())
    return {case["id"]: case for case in document["cases"]}


def isolate(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this machine's CI variables, git settings and noise out of the runs, and restore what QUIET replaces."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
    # Whoever measures on this machine meanwhile is not waited for: nothing here depends on time.
    monkeypatch.setenv("TMPDIR", str(pytester.path))
    # Compiling the plugins with their assertions costs every pytest that is started a second: have it done once.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(pytester.path.parent / "pycache"))
    monkeypatch.setattr(lock, "FOLDER", pytester.path / "pytest-gpuperf-locks")
    for owner, name in ((load, "disturbances"), (Worker, "warm_up")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(pytester.path / "gitconfig"))
    (pytester.path / "gitconfig").write_text("[user]\n name = Test Author\n email = author@example.org\n")
    for variable in ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL"):
        monkeypatch.delenv(variable, raising=False)
