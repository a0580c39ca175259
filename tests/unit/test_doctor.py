"""``gpuperf doctor``: version fit, CODEOWNERS, exit status and JSON."""

from __future__ import annotations

import argparse
import json
import sys

import pytest

from pytest_gpuperf import codeowners, versions
from pytest_gpuperf.commands import doctor
from pytest_gpuperf.records import Status
from pytest_gpuperf.records.machine import Cpu, Driver, Gpu, Machine

CPU = Cpu(model="Test CPU", cores=2, memory_mib=4096)
BARE = Machine(id="m", system="Linux", cpu=CPU, driver=Driver(fault="LIBRARY_NOT_FOUND"))
H200 = Machine(
    id="m", system="Linux", cpu=CPU, driver=Driver(version="535.104", cuda="12.2"),
    gpus=(Gpu(index=0, name="NVIDIA H200", compute_capability="9.0"),),
)  # fmt: skip


def fit(packages: dict[str, str], machine: Machine = BARE, python: tuple[int, int] = (3, 11)):
    return [(problem.status, problem.cause) for problem in versions.check(packages, machine, python=python)]


def test_fitting_packages():
    assert fit({"tensorflow-cpu": "2.21.0", "onnxruntime": "1.32.0", "nvidia-ml-py": "13.615"}) == []
    good = {"tensorflow": "2.20.0", "onnxruntime-gpu": "1.22.0", "nvidia-cudnn-cu12": "9.3.0", "tensorrt-cu12": "10.9"}
    assert [status for status, _ in fit(good, H200)] == [None]  # TF-TRT is gone: a note


UNFIT = [
    ("row44_both_onnxruntimes", {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.22.0"}, BARE, Status.CONFIG,
     "both onnxruntime and onnxruntime-gpu"),
    ("both_tensorflows", {"tensorflow": "2.20", "tensorflow-cpu": "2.20"}, BARE, Status.CONFIG, "both tensorflow"),
    ("pynvml_on_cpu", {"pynvml": "13.0.1"}, BARE, None, "deprecated package pynvml"),
    ("pynvml_on_gpu", {"pynvml": "13.0.1"}, H200, Status.CONFIG, "deprecated package pynvml"),
    ("row43_cpu_onnxruntime", {"onnxruntime": "1.32.0"}, H200, Status.CONFIG,
     "onnxruntime 1.32.0 can only use the CPU"),
    ("row45_cpu_tensorflow", {"tensorflow-cpu": "2.21.0"}, H200, Status.CONFIG,
     "tensorflow-cpu 2.21.0 can only use the CPU"),
    ("cuda_too_new", {"tensorrt-cu13": "11.0.0"}, H200, Status.CONFIG,
     "tensorrt-cu13 11.0.0 needs CUDA 13, the driver 535.104 goes up to 12.2"),
    ("cudnn_8_for_new_tensorflow", {"tensorflow": "2.18.0", "nvidia-cudnn-cu12": "8.9.7"}, H200, Status.CONFIG,
     "tensorflow 2.18.0 loads cuDNN 9, installed is 8"),
    ("cudnn_9_for_old_tensorflow", {"tensorflow": "2.17.1", "nvidia-cudnn-cu12": "9.1.0"}, H200, Status.CONFIG,
     "tensorflow 2.17.1 loads cuDNN 8, installed is 9"),
    ("cudnn_8_for_onnxruntime", {"onnxruntime-gpu": "1.20.1", "nvidia-cudnn-cu12": "8.9.7"}, H200, Status.CONFIG,
     "onnxruntime-gpu 1.20.1 loads cuDNN 9, installed is 8"),
    ("tensorrt_8_python_311", {"tensorrt": "8.6.1"}, BARE, Status.CONFIG,
     "TensorRT 8.6.1 has no wheel for Python 3.11"),
    ("no_tf_trt", {"tensorrt": "10.9.0", "tensorflow": "2.18.0"}, BARE, None, "no TF-TRT any more"),
    ("rtx_on_h200", {"tensorrt-rtx-cu13-bindings": "1.7.1"},
     Machine(id="m", system="", cpu=CPU, driver=Driver(version="580", cuda="13.0"), gpus=H200.gpus), None,
     "does not run them on NVIDIA H200"),
]  # fmt: skip


@pytest.mark.parametrize(("packages", "machine", "status", "cause"), [u[1:] for u in UNFIT], ids=[u[0] for u in UNFIT])
def test_unfit_packages(packages, machine, status, cause):
    ((got_status, got_cause),) = fit(packages, machine)
    assert got_status == status
    assert cause in got_cause


def test_tensorrt_8_on_its_python():
    assert fit({"tensorrt": "8.6.1"}, python=(3, 10)) == []


@pytest.mark.parametrize(
    ("version", "release"), [("2.17.1rc0", (2, 17, 1)), ("8.6.0", (8, 6, 0)), ("13", (13,)), ("x", ())]
)
def test_release(version, release):
    assert versions.release(version) == release


def test_installed_are_real_versions():
    installed = versions.installed()
    assert set(installed) <= set(versions.DISTRIBUTIONS)
    assert installed["nvidia-ml-py"]


# --- CODEOWNERS -----------------------------------------------------------------------------------------------------


def causes(tmp_path, text: str, place: str = ".github/CODEOWNERS") -> list[str]:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return [problem.cause for problem in codeowners.check(tmp_path)]


@pytest.mark.parametrize(
    "text",
    [
        "/baselines/ @perf\n",
        "baselines/ @perf",
        "* @everybody",
        "/baselines/** @perf",
        "*.json @perf",
        "# x\n* me@x.org",
    ],
)
@pytest.mark.parametrize("place", codeowners.PLACES)
def test_baselines_are_owned(tmp_path, text, place):
    assert causes(tmp_path, text, place) == []


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("/docs/ @writers\n", ".github/CODEOWNERS has no line for baselines/"),
        ("* @all\n/baselines/\n", ".github/CODEOWNERS: the line that matches baselines/ names no owner"),
        ("", ".github/CODEOWNERS has no line for baselines/"),
    ],
)
def test_row76_baselines_are_not_owned(tmp_path, text, cause):
    assert causes(tmp_path, text) == [cause]


def test_row76_bad_line_drops_its_protection(tmp_path):
    assert causes(tmp_path, "/baselines/ perf-team\n") == [
        ".github/CODEOWNERS:1: 'perf-team' is no owner, so the line protects nothing",
        ".github/CODEOWNERS has no line for baselines/",
    ]


def test_no_codeowners(tmp_path):
    assert [problem.cause for problem in codeowners.check(tmp_path)] == [
        "no CODEOWNERS file: anybody may change baselines/ in a pull request"
    ]


# --- the command ----------------------------------------------------------------------------------------------------


def run(capsys, *argv: str) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    status = doctor.run(parser.parse_args(argv))
    return status, capsys.readouterr().out


def test_fit_machine(fake_nvml, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(versions, "installed", dict)
    status, text = run(capsys, "--profile=a40", f"--root={tmp_path}")
    assert status == 0, text
    assert "ok    GPUs are healthy and free" in text
    assert "GPUs     2 x NVIDIA A40; driver 580.95.05" in text
    assert "note  baselines are protected" in text


def test_unfit_machine(fake_nvml, tmp_path, capsys):
    fake_nvml.write("0.remap_failed = 1")
    status, text = run(capsys, "--profile=a40", f"--root={tmp_path}")
    assert status == 1
    assert "FAIL  GPUs are healthy and free" in text
    assert "row remapping failed [DCGM_FR_ROW_REMAP_FAILURE]; next: take this runner out of service" in text


def test_wrong_machine(fake_nvml, tmp_path, capsys):
    status, text = run(capsys, "--profile=h200", f"--root={tmp_path}")
    assert status == 1
    assert "FAIL  the machine is the server profile's" in text
    assert "got name: 2 x NVIDIA A40, expected name: NVIDIA H200" in text


def test_json(fake_nvml, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    fake_nvml.write("0.throttle = 8")
    status, text = run(capsys, "--json", "--profile=a40", f"--root={tmp_path}")
    answer = json.loads(text)
    assert status == 1
    assert answer["fit"] is False
    assert answer["ci"] == "GitHub Actions"
    assert answer["profile"] == "a40"
    assert answer["machine"]["gpus"][0]["name"] == "NVIDIA A40"
    assert answer["checks"]["GPUs are healthy and free"][0]["status"] == "inconclusive"
    assert answer["checks"]["the environment leaves CUDA alone"][0]["code"] == "DCGM_FR_BAD_CUDA_ENV"


def test_read_only_root_is_noted(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    (problem,) = [p for p in doctor._permissions(BARE, tmp_path) if p.code == "PERMISSIONS"]
    assert "is read-only" in problem.cause
    assert problem.next_step == "give --gpu-out=DIR"


def test_a_device_that_may_not_be_used(tmp_path, monkeypatch):
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(doctor, "_DEVICES", tmp_path)
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: "nvidia" not in str(path))
    (problem,) = [p for p in doctor._permissions(H200, tmp_path.parent) if p.code == "PERMISSIONS"]
    assert problem.status is Status.INFRA
    assert problem.cause == f"{tmp_path / 'nvidia0'} may not be used"
    assert problem.next_step == f"add this user to the group that owns {tmp_path / 'nvidia0'}"


def test_small_shared_memory_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_SHARED", tmp_path / "none")
    (problem,) = [p for p in doctor._permissions(BARE, tmp_path) if p.code == "SHARED_MEMORY"]
    assert "0 MiB free" in problem.cause


def test_no_engine_is_imported():
    engines = {"tensorflow", "onnxruntime", "tensorrt", "tensorrt_rtx"}
    import subprocess

    code = (
        "import sys; from pytest_gpuperf.commands import doctor, profiles; from pytest_gpuperf import telemetry; "
        f"sys.exit(bool({engines!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
