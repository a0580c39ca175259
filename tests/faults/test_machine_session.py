"""A session on the wrong or a broken machine ends before any engine is imported, and never with exit status 0."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_gpuperf import rig

#: Rows of docs/faults.md: script, what the output says.
SESSIONS = {
    "row24_driver_not_loaded": (["nvmlInitWithFlags = rc 9"], "installed but not loaded"),
    "row25_version_mismatch": (["nvmlInitWithFlags = rc 18"], "different versions"),
    "row26_another_gpu": (["name = NVIDIA H100 80GB HBM3"], "name: 2 x NVIDIA H100 80GB HBM3"),
    "row27_fewer_gpus": (["count = 1"], "count: 1 GPU(s)"),
    "row37_visible_gpu_is_not_there": ([], "CUDA_VISIBLE_DEVICES names a GPU that is not there"),
}


@pytest.mark.parametrize("row", SESSIONS)
def test_exit_4_before_any_engine(pytester, fake_nvml, monkeypatch, row):
    script, text = SESSIONS[row]
    fake_nvml.write(*script)
    if row.startswith("row37"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    touched = pytester.path / "touched"
    for engine in ("tensorflow", "onnxruntime", "tensorrt", "tensorrt_rtx"):
        (pytester.path / f"{engine}.py").write_text(f"open({str(touched)!r}, 'w')")
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makepyfile("def test_never_runs(): open('ran', 'w')")
    result = pytester.runpytest_subprocess("--gpu-profile=a40", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{text}*"])
    assert not touched.exists()
    assert not Path(pytester.path / "ran").exists()


FIRST, LAST = "test_suite.py::test_engine[fast]", "test_suite.py::test_engine[slow]"
# What happens to the GPU between the first case and the second.
BETWEEN = """
import os, pathlib, pytest

@pytest.fixture(autouse=True)
def between(request):
    if "slow" in request.node.name:
        pathlib.Path(os.environ["FAKE_NVML"]).write_text(SCRIPT)
"""


@pytest.fixture
def on_a40(repository, fake_nvml, monkeypatch):
    monkeypatch.setattr(rig, "SETTLE_S", 0.3)

    def run(between: str = "") -> pytest.RunResult:
        conftest = repository.path / "conftest.py"
        conftest.write_text(conftest.read_text() + BETWEEN.replace("SCRIPT", repr(between)))
        return repository.pytester.runpytest("--gpu-profile=a40", "--gpu-time-budget=0.3")

    return run


def test_row28_no_case_is_measured_on_a_lost_gpu(on_a40, repository):
    result = on_a40("0.nvmlDeviceGetHandleByIndex_v2 = rc 15\n")
    result.assert_outcomes(passed=1, failed=1)
    assert repository.verdicts() == {FIRST: "new", LAST: "infra"}
    assert repository.results()[LAST]["metrics"] == {}
    # A peak, which stands even where a busy machine lets the sampler miss too much for means.
    assert repository.results()[FIRST]["telemetry"]["temperature_max_c"] == 45
    result.stdout.fnmatch_lines(["infra: GPU 0 (*): the GPU has fallen off the bus*", "*power-cycle*"])


def test_another_gpu_that_is_lost_stops_nothing(on_a40, repository):
    on_a40("1.nvmlDeviceGetHandleByIndex_v2 = rc 15\n").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("between", "cause"),
    [("0.throttle = 64\n", "hw_thermal"), (f"0.processes = {os.getppid()}:1048576\n", f"pid {os.getppid()}")],
    ids=["row31_heat", "row34_neighbour"],
)
def test_a_machine_that_stays_unfit_is_waited_for_and_then_inconclusive(on_a40, repository, between, cause):
    result = on_a40(between)
    result.assert_outcomes(passed=1, failed=1)
    assert repository.verdicts() == {FIRST: "new", LAST: "inconclusive"}
    result.stdout.fnmatch_lines(["gpuperf: waiting for a fit machine: GPU 0 *", f"inconclusive: *{cause}*"])


def test_a_leak_on_the_gpu_is_called_out(on_a40, repository, fake_nvml):
    fake_nvml.write("used = ramp 100000000 500000000")
    on_a40("used = ramp 100000000 500000000\n").assert_outcomes(passed=2)
    (note,) = (note for note in repository.results()[FIRST]["notes"] if "grew" in note)  # this host may be noisy
    assert note.startswith("GPU memory grew by ")
    assert note.endswith("while the case ran: a leak?; run it longer")
