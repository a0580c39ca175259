"""``--gpu-bundle``: a real bundle of the digits network runs where no process can import TensorFlow or Keras."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.repository import QUIET, isolate, read_results

from pytest_gpuperf import cli

for package in ("tensorflow", "keras", "onnxruntime", "tf2onnx"):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("GPUPERF_CACHE", ROOT / ".gpuperf" / "cache"))
FORBID = """
import sys
from importlib.abc import MetaPathFinder

class Forbidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"tensorflow", "keras"}:
            raise ImportError(f"{name} is forbidden here")
        return None

sys.meta_path.insert(0, Forbidden())
"""
SUITE = f"""
from pytest_gpuperf import Budget, Model

ROOT = {str(ROOT / "suites")!r}
DIGITS = Model(name="digits", source="digits/model.py:build", inputs="digits/model.py:inputs", root=ROOT)

def test_digits(engine, batched_inputs, gpuperf):
    inputs = batched_inputs("digits/model.py:inputs", 8, samples=32, seed=1)
    gpuperf.check(engine(DIGITS, "onnxruntime", threads=1), inputs, Budget(min_top1=0.9, max_output_rel_rmse=1e-4))
"""


@pytest.mark.filterwarnings("default")  # a cold conversion runs Keras and tf2onnx, which warn
def test_a_bundle_needs_no_tensorflow(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(pytester, monkeypatch)
    what = ["--model=digits", "--precision=fp32", "--samples=32", "--seed=1", f"--models={ROOT / 'suites/conftest.py'}"]
    assert cli.main(["bundle", "build", "bundle", *what, f"--cache={CACHE}"]) == 0
    pytester.makeconftest(QUIET)
    pytester.makepyfile(test_suite=SUITE)
    (forbid := pytester.path / "forbid").mkdir()
    (forbid / "sitecustomize.py").write_text(FORBID)
    monkeypatch.setenv("PYTHONPATH", str(forbid), prepend=os.pathsep)
    arguments = ["--gpu-profile=cpu", "--gpu-time-budget=0.3", "--gpu-cache=cache"]

    refused = pytester.runpytest_subprocess(*arguments)
    refused.assert_outcomes(failed=1)
    refused.stdout.fnmatch_lines(["*tensorflow*"])
    assert read_results(pytester.path)["test_suite.py::test_digits"]["verdict"] == "config"

    pytester.runpytest_subprocess(*arguments, "--gpu-bundle=bundle").assert_outcomes(passed=1)
    case = read_results(pytester.path)["test_suite.py::test_digits"]
    assert case["verdict"] == "new"
    assert case["info"]["artefact"]["recipe"]["bundle"] == "onnx/digits/fp32"
    assert case["accuracy"]["top1"] > 0.9
    assert 0 <= case["accuracy"]["rel_rmse"] < 1e-4  # against what TensorFlow wrote into the bundle
    assert case["metrics"]["latency_p50_ms"]["value"] > 0
