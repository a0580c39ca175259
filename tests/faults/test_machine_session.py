"""A session on the wrong or a broken machine ends before any engine is imported, and never with exit status 0."""

from __future__ import annotations

from pathlib import Path

import pytest

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
