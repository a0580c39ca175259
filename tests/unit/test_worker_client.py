"""A real child process, asked by its parent."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import cases
from fakes.inputs import numbers

from pytest_gpuperf.errors import ConfigError, WorkerError
from pytest_gpuperf.worker import death, environment, protocol
from pytest_gpuperf.worker.client import Worker
from pytest_gpuperf.worker.pool import Pool


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    worker = Worker.start(log=tmp_path / "worker.log", deadline_s=20)
    yield worker
    worker.stop()


def test_a_case_from_open_to_close(worker: Worker, tmp_path: Path) -> None:
    said: list[str] = []
    info = worker.open(cases.engine("fp16"), cases.batches(4, 16), cache=tmp_path, progress=said.append)
    assert (info.kind, info.device, info.precision, info.artefact.kind) == (cases.KIND, "cpu", "fp16", "none")
    assert said == ["opening the fake fake"]
    assert worker.labels is None
    assert len(worker.inputs_digest) == 64

    outputs = worker.evaluate()["logits"]
    assert outputs.shape == (16, 10)
    assert outputs.dtype == np.float32
    assert len(set(map(bytes, outputs))) == 16

    assert worker.warm_up(max_s=10).warmup_runs > 0
    block = worker.measure(seconds=30, max_calls=7)
    assert len(block.host_ns) == 7
    volley = worker.volley(in_flight=2, seconds=0.05)
    assert (volley.in_flight, volley.batch) == (2, 4)

    worker.close()
    assert worker.is_alive
    assert not list(tmp_path.glob("cache*"))


def test_two_processes_make_the_same_inputs_and_outputs(tmp_path: Path) -> None:
    seen = []
    with Pool(tmp_path) as pool:
        for role in ("candidate", "reference"):
            worker = pool.worker(role)
            worker.open(cases.engine(), cases.batches(), cache=tmp_path, progress=lambda _: None)
            seen.append((worker.inputs_digest, worker.evaluate()["logits"].tobytes()))
    assert seen[0] == seen[1]


def test_outputs_are_those_of_the_engine(worker: Worker, tmp_path: Path) -> None:
    from fakes.engine import _logits

    worker.open(cases.engine(scale="2"), cases.batches(4, 16), cache=tmp_path, progress=lambda _: None)
    np.testing.assert_array_equal(worker.evaluate()["logits"], 2 * _logits(numbers(16, 0)["numbers"]))


def test_one_process_serves_one_engine_after_the_other(worker: Worker, tmp_path: Path) -> None:
    for scale in ("1", "3"):
        worker.open(cases.engine(scale=scale), cases.batches(), cache=tmp_path, progress=lambda _: None)
        first = worker.evaluate()["logits"]
    worker.open(cases.engine(), cases.batches(), cache=tmp_path, progress=lambda _: None)
    np.testing.assert_allclose(first, 3 * worker.evaluate()["logits"], rtol=1e-6)


def test_labels_come_with_the_input_set(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "labelled.py").write_text(
        "import numpy as np\n"
        "def load(samples, seed):\n"
        "    return {'x': np.ones((samples, 2), np.float32)}, np.arange(samples) % 10\n"
    )
    batches = replace(cases.batches(2, 6), inputs="labelled.py:load", root=str(tmp_path))
    worker.open(cases.engine(), batches, cache=tmp_path, progress=lambda _: None)
    assert worker.labels is not None
    assert worker.labels.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (replace(cases.engine(), kind="tflite"), "unknown engine kind"),
        (
            replace(cases.engine(), kind="no_such_library:Engine"),
            "engine kind 'no_such_library:Engine' cannot be loaded",
        ),
        (cases.engine("fp4"), f"engine '{cases.KIND}' has no precision 'fp4'"),
        (cases.engine("fp16", got_precision="fp32"), f"{cases.KIND} did not load fake in the precision"),
        (cases.engine(fault="config", at="open"), "the fake dislikes its input"),
    ],
)
def test_a_config_error_crosses_the_process_and_leaves_it_alive(
    worker: Worker, tmp_path: Path, spec: object, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        worker.open(spec, cases.batches(), cache=tmp_path, progress=lambda _: None)  # type: ignore[arg-type]
    assert caught.value.what.startswith(what)
    pid = worker.pid
    worker.open(cases.engine(), cases.batches(), cache=tmp_path, progress=lambda _: None)
    assert worker.pid == pid
    assert worker.evaluate()


def test_all_four_parts_of_an_error_cross(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        worker.open(cases.engine(fault="config", at="open"), cases.batches(), cache=tmp_path, progress=lambda _: None)
    assert str(caught.value) == (
        "the fake dislikes its input\n"
        "  got:      1\n"
        "  expected: 2\n"
        f"  next:     its traceback is in {tmp_path / 'worker.log'}"
    )
    assert "ConfigError: the fake dislikes its input" in (tmp_path / "worker.log").read_text()


def test_the_child_gets_an_allow_listed_environment() -> None:
    given = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "LC_ALL": "C",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "GITHUB_TOKEN": "secret",
    }
    built = environment.build("/other/python", {"EXTRA": "1", "PATH": "/mine"}, given)
    assert built == {
        "PATH": "/mine",
        "CUDA_VISIBLE_DEVICES": "1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "LC_ALL": "C",
        "PYTHONSAFEPATH": "1",
        "EXTRA": "1",
    }


def test_the_child_finds_modules_where_the_parent_does_if_it_is_the_same_python() -> None:
    assert str(cases.TESTS) in environment.build(sys.executable, None, {})["PYTHONPATH"].split(os.pathsep)
    assert "PYTHONPATH" not in environment.build("/other/python", None, {})


def test_secrets_do_not_reach_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    worker = Worker.start(log=tmp_path / "log", env={"GPUPERF_EXTRA": "1"})
    names = {entry.split("=")[0] for entry in Path(f"/proc/{worker.pid}/environ").read_text().split("\0")}
    worker.stop()
    assert "GITHUB_TOKEN" not in names
    assert "GPUPERF_EXTRA" in names


def test_another_interpreter_needs_no_engine_library(tmp_path: Path) -> None:
    """A wrapper stands for another interpreter: it blocks TensorFlow and everything else that engines import."""
    wrapper = tmp_path / "python-without-engines"
    blocked = ("tensorflow", "keras", "onnx", "onnxruntime", "tensorrt", "scipy", "pytest", "filelock")
    hook = tmp_path / "blocked" / "sitecustomize.py"
    hook.parent.mkdir()
    hook.write_text(f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n")
    path = os.pathsep.join([str(hook.parent), *sys.path])
    wrapper.write_text(f"#!/bin/sh\nPYTHONPATH='{path}' exec {sys.executable} \"$@\"\n")
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    worker = Worker.start(interpreter=str(wrapper), log=tmp_path / "log", deadline_s=20)
    worker.open(cases.engine(), cases.batches(), cache=tmp_path, progress=lambda _: None)
    assert worker.evaluate()["logits"].shape == (16, 10)
    worker.stop()


def test_an_interpreter_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Worker.start(interpreter="/nowhere/python", log=tmp_path / "log")
    assert caught.value.what == "the measuring process cannot be started"
    assert "/nowhere/python" in (caught.value.got or "")


def test_an_interpreter_without_the_package_is_named_with_its_log(tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    wrapper.chmod(0o755)
    with pytest.raises(WorkerError) as caught:
        Worker.start(interpreter=str(wrapper), log=tmp_path / "log")
    assert caught.value.what == "the measuring process ended with exit status 1 while it started"
    assert "No module named 'pytest_gpuperf'" in (caught.value.got or "")


def test_another_protocol_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = protocol.VERSION
    monkeypatch.setattr(protocol, "VERSION", 99)
    with pytest.raises(WorkerError) as caught:
        Worker.start(log=tmp_path / "log")
    assert str(caught.value) == (
        "the measuring process speaks another protocol version\n"
        f"  got:      version {theirs} under {sys.executable}\n"
        "  expected: version 99\n"
        "  next:     install the same pytest-gpuperf for both interpreters"
    )


def test_the_pool_keeps_a_process_per_role_and_replaces_it_on_request(tmp_path: Path) -> None:
    with Pool(tmp_path) as pool:
        candidate, reference = pool.worker("candidate"), pool.worker("reference")
        assert candidate.pid != reference.pid
        assert pool.worker("candidate") is candidate
        fresh = pool.fresh("candidate")
        assert fresh.pid != candidate.pid
        assert not candidate.is_alive
        assert pool.worker("candidate") is fresh
        assert pool.worker("reference") is reference
    assert not fresh.is_alive
    assert not reference.is_alive


def test_stopping_twice_is_harmless_and_a_stopped_process_says_so(worker: Worker) -> None:
    worker.stop()
    worker.stop()
    with pytest.raises(WorkerError, match="the measuring process ended with exit status 0 while it was idle"):
        worker.evaluate()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with exit status 0"),
        (3, "ended with exit status 3"),
        (-11, "died of SIGSEGV"),
        (-9, "died of SIGKILL (the kernel's out-of-memory killer sends it)"),
        (-63, "died of signal 63"),
    ],
)
def test_death_is_described(status: int, words: str) -> None:
    assert death.describe(status) == words


def test_the_tail_prefers_the_stack(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n" * 50 + "Fatal Python error: Aborted\n\nCurrent thread 0x1:\n" + "  frame\n" * 30)
    assert death.tail(log) == ["Fatal Python error: Aborted", "Current thread 0x1:", *["  frame"] * 4]
    log.write_text("\n".join(map(str, range(100))))
    assert death.tail(log) == ["94", "95", "96", "97", "98", "99"]
    assert death.tail(log, start=log.stat().st_size - 2) == ["99"]
    assert death.tail(tmp_path / "absent") == []


def test_the_child_is_not_for_people(tmp_path: Path) -> None:
    from pytest_gpuperf.worker.__main__ import main

    assert main([]) == 2
    assert main(["x"]) == 2
