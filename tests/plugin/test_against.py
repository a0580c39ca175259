"""``--gpu-against``: whole sessions beside another revision, interpreter or artefact, and what cannot be had."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from pytest_gpuperf import livepair
from pytest_gpuperf.cli import main
from pytest_gpuperf.records import Volley
from pytest_gpuperf.worker.client import Worker

FAST, SLOW = "test_suite.py::test_engine[fast]", "test_suite.py::test_engine[slow]"
P50, P99, THROUGHPUT = "latency_p50_ms", "latency_p99_ms", "throughput_sps"
ONNX_SUITE = """
from pytest_gpuperf import Model

TINY = Model(name="tiny", source="tiny.onnx", inputs="rows.py:rows")


def test_tiny(engine, batched_inputs, gpuperf):
    gpuperf.check(engine(TINY, "onnxruntime", threads=1), batched_inputs("rows.py:rows", 4))
"""


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def volley(worker: Worker, *, in_flight: int, seconds: float) -> Volley:
    """Do as many calls a second as the device's clock says."""
    calls = worker.measure(seconds=0.01, max_calls=8)
    return Volley(in_flight=in_flight, calls=round(1e9 / median(calls.device_ns or (1e6,))), batch=8, seconds=1)


@pytest.fixture
def live(repository, monkeypatch):
    """A repository under git, whose processes are measured for an instant only: times are the scripts'."""
    monkeypatch.setattr(Worker, "volley", volley)
    monkeypatch.setattr(livepair, "ROUND_S", 0.02)
    (repository.path / ".gitignore").write_text(".gpuperf\n__pycache__\ngitconfig\n*.log\n")
    return repository


def commit(repository, message: str) -> str:
    if not (repository.path / ".git").exists():
        git(repository.path, "init", "-q")
    git(repository.path, "add", ".")
    git(repository.path, "commit", "-qm", message)
    return git(repository.path, "rev-parse", "HEAD")


def worktrees(folder: Path) -> list[str]:
    return [line for line in git(folder, "worktree", "list", "--porcelain").splitlines() if line.startswith("worktree")]


def test_a_slower_commit_fails_exactly_that_test(live):
    first = commit(live, "first")
    live.script("fast", device_ms="1.2")
    commit(live, "slower")

    result = live.run("--gpu-against=git:HEAD~1", "--gpu-report=html")

    result.assert_outcomes(passed=1, failed=1)
    assert live.verdicts() == {FAST: "regressed", SLOW: "passed"}
    fast = live.results()[FAST]
    assert fast["judged_against"] == "live pair"
    assert fast["live"]["reference"] == f"git:HEAD~1, commit {first[:12]}"
    assert fast["live"]["comparisons"][P50]["ratio"] == pytest.approx(1.2)
    assert {name: found["unit"] for name, found in fast["live"]["comparisons"].items()} == dict.fromkeys(
        (P50, P99, THROUGHPUT), "process pair"
    )
    told = f"live pair (git:HEAD~1, commit {first[:12]})"
    result.stdout.fnmatch_lines([f"gpuperf: live reference: git:HEAD~1, commit {first[:12]}"])
    result.stdout.fnmatch_lines([f"  live reference: git:HEAD~1, commit {first[:12]}*", f"2 judged against {told}"])
    assert "no live reference" not in result.stdout.str()
    assert told in (live.path / ".gpuperf" / "report.html").read_text()
    assert len(worktrees(live.path)) == 1  # the checkout is gone
    assert list((live.path / ".gpuperf" / "worktrees").iterdir()) == []


def test_a_fault_in_the_tail_turns_that_figure_red(live):
    commit(live, "first")
    live.script("fast", device_ms="1", tail_ms="1.2")  # not committed: the working tree against its last commit

    live.run("--gpu-against=git:HEAD", "-k", "fast").assert_outcomes(failed=1)

    case = live.results()[FAST]
    assert {found["metric"] for found in case["findings"] if found["status"] == "regressed"} == {P99}
    assert next(found for found in case["findings"] if found["metric"] == P50)["status"] == "passed"


def test_the_same_program_under_another_interpreter_passes(live):
    result = live.run(f"--gpu-against=python:{sys.executable}", "-k", "slow")

    result.assert_outcomes(passed=1)
    assert live.verdicts() == {SLOW: "passed"}  # a live pair needs no baseline
    assert live.results()[SLOW]["live"]["reference"] == f"python:{sys.executable}"


@pytest.mark.parametrize(
    ("case", "ours", "theirs", "verdict"), [(FAST, "fast", "slow", "improved"), (SLOW, "slow", "fast", "regressed")]
)
def test_another_engine_under_another_interpreter(live, case, ours, theirs, verdict):
    suite = live.path / "test_suite.py"
    text = suite.read_text()
    other = f'engine(FAKE, "fakes.scripted:ScriptedEngine", script="{theirs}.json")'
    suite.write_text(text.replace("reference=reference)", f"reference=reference, live={other})"))
    live.run(f"--gpu-against=python:{sys.executable}", "-k", ours)
    assert live.verdicts() == {case: verdict}
    assert live.results()[case]["live"]["reference"] == f"fakes.scripted:ScriptedEngine fp32, python:{sys.executable}"


def refuse(live, argument: str, *expected: str) -> None:
    """The session ends with status 4 and these words, and nothing was measured."""
    result = live.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str() + result.stdout.str()
    for words in expected:
        assert words in text, text
    assert not (live.path / ".gpuperf" / "results.json").exists()


def test_a_revision_that_cannot_be_had(live):
    refuse(live, "--gpu-against=git:HEAD", "there is no git repository to take HEAD from", "run in a clone")
    commit(live, "first")
    refuse(live, "--gpu-against=git:v9", "git knows no commit 'v9'", "git fetch --unshallow")
    refuse(live, "--gpu-against=git:--all", "git knows no commit '--all'")
    assert len(worktrees(live.path)) == 1


def test_a_revision_whose_plugin_speaks_another_protocol(live):
    package = live.path / "pytest_gpuperf" / "worker"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import socket, sys, os\n"
        "import msgspec\n"
        "body = msgspec.msgpack.encode({'type': 'Hello', 'version': 1, 'pid': os.getpid(), 'python': '3'})\n"
        "s = socket.socket(fileno=int(sys.argv[1]))\n"
        "s.sendall(len(body).to_bytes(4, 'big') + body)\n"
        "s.recv(1)\n"
    )
    commit(live, "an old plugin")
    (package / "__main__.py").unlink()
    (package / "__init__.py").unlink()
    (package.parent / "__init__.py").unlink()

    refuse(live, "--gpu-against=git:HEAD", "speaks another protocol version", "version 1", "compare with a newer")
    assert len(worktrees(live.path)) == 1


def test_an_interpreter_that_cannot_be_had(live):
    refuse(live, "--gpu-against=python:/nowhere/python", "there is no such Python interpreter", "-m venv NAME")
    bare = live.path / "bare"
    bare.write_text(f'#!/bin/sh\nPYTHONPATH= exec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    refuse(live, f"--gpu-against=python:{bare}", "cannot be used", "No module named", f"{bare} -m pip install")


def test_a_file_that_cannot_be_had(live):
    refuse(live, "--gpu-against=engine:none.onnx", "there is no such engine file", str(live.path / "none.onnx"))


def test_a_baseline_that_names_no_artefact(live):
    live.approve()
    (live.path / ".gpuperf" / "results.json").unlink(missing_ok=True)
    refuse(live, "--gpu-against=baseline", f"{FAST}: the baseline names no artefact", "--gpu-against=git:")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu-against=git:"], "invalid --gpu-against (from the command line)"),
        (["--gpu-against=revision"], "one of baseline, git:REV, python:INTERPRETER, engine:FILE, none"),
        (["--gpu-against=baseline", "--gpu-off"], "--gpu-off and --gpu-against contradict each other"),
        (["--gpu-against=git:HEAD", "--gpu-bundle=b"], "--gpu-bundle and --gpu-against contradict each other"),
    ],
)
def test_what_makes_no_sense_is_refused(live, arguments, words):
    result = live.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}*"])


def test_a_case_without_a_baseline_is_new(live):
    live.run("--gpu-against=baseline", "-k", "fast").assert_outcomes(passed=1)
    assert live.results()[FAST]["reason"] == "live pair: there is no measured baseline to run against"


def test_approved_artefacts_and_files_run_again(live, monkeypatch):
    """ONNX Runtime for real: approved, changed, compared with what was approved, and with the file by name."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (live.path / "test_suite.py").write_text(ONNX_SUITE)
    (live.path / "rows.py").write_text(
        "import numpy as np\n\n\ndef rows(samples, seed):\n"
        "    return {'x': np.random.default_rng(seed).normal(size=(samples, 8)).astype(np.float32)}\n"
    )
    case, tiny = "test_suite.py::test_tiny", live.path / "tiny.onnx"
    monkeypatch.setattr(livepair, "MARGINS_PCT", {P50: 1e6, P99: 1e6})  # times are real here, and nothing rests on them
    save(onnx, live.path / "large.onnx", 30)
    save(onnx, tiny, 1)
    live.run("--gpu-update=all", "--gpu-against=engine:large.onnx")
    found = live.results()[case]["live"]
    assert found["reference"].startswith("engine:large.onnx, sha256 ")
    assert found["comparisons"][P50]["ratio"] < 0.7  # a thirtieth of the work
    assert main(["accept", "--all", "--reason", "first"]) == 0
    approved = json.loads((live.path / "baselines" / "cpu" / "suite.json").read_text())
    sha = approved["cases"][case]["conditions"]["artefact_sha256"]
    save(onnx, tiny, 30)

    live.run("--gpu-against=baseline")
    found = live.results()[case]
    assert found["live"]["reference"] == f"the baseline's artefact, sha256 {sha[:12]}"
    assert found["live"]["comparisons"][P50]["ratio"] > 1.5
    assert found["conditions"]["artefact_sha256"] != sha
    assert found["differences"]["mismatched"] == {}

    (live.path / ".gpuperf" / "results.json").unlink()
    assert drop(live.path / ".gpuperf" / "cache", sha)
    refuse(
        live,
        "--gpu-against=baseline",
        f"{case}: the artefact that the baseline names is not in the cache",
        "point --gpu-cache to the cache in which it was made",
    )


def save(onnx, path: Path, layers: int) -> None:
    """Write a model of so many matrix products, 200 x 200 each, between two that fit the inputs."""
    import numpy as np

    sizes = [8, *[200] * (layers + 1), 4]
    names = ["x", *(f"h{index}" for index in range(1, len(sizes) - 1)), "y"]
    weights = [
        onnx.numpy_helper.from_array(np.full((a, b), 1 / a, np.float32), f"w{index}")
        for index, (a, b) in enumerate(pairwise(sizes))
    ]
    nodes = [
        onnx.helper.make_node("MatMul", [names[index], f"w{index}"], [names[index + 1]])
        for index in range(len(weights))
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])
        for name, size in (("x", sizes[0]), ("y", sizes[-1]))
    ]
    graph = onnx.helper.make_graph(nodes, "tiny", ends[:1], ends[1:], weights)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)


def drop(cache: Path, sha256: str) -> bool:
    """Remove what has this content from the cache; whether there was any."""
    import shutil

    found = [
        path.parent for path in cache.glob("*/*/manifest.json") if json.loads(path.read_text())["sha256"] == sha256
    ]
    for folder in found:
        shutil.rmtree(folder)
    return bool(found)
