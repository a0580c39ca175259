"""Faults 67 to 69: model servers that do not start, die or lie, and load generators that say VALID too easily."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc")
pytest.importorskip("mlperf_loadgen")

from fakes import kserve as fake

from pytest_gpuperf.errors import InfraError, WorkerError
from pytest_gpuperf.serving import load
from pytest_gpuperf.serving.kserve import Client
from pytest_gpuperf.serving.plan import Traffic
from pytest_gpuperf.serving.triton import Triton

NUMBERS = np.arange(64, dtype=np.float32).reshape(16, 4)


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.setenv("GPUPERF_SERVER_PIDS", str(tmp_path / "pids"))

    def starts(fault, **arguments):
        command = [sys.executable, "-m", "fakes.server", fault]
        return Triton.start(
            tmp_path, tmp_path, model="doubler", log=tmp_path / "server.log", command=command, **arguments
        )

    return starts


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, within_s=5.0):
    deadline = time.monotonic() + within_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "exit",
            r"ended with exit status 1\n  got:      E1123 .*no model fits(.|\n)*its whole log is",
        ),
        ("crash", r"the model server died of SIGSEGV"),
        ("taken", r"the model server ended with exit status 1\n  got:      bind: Address already in use"),
    ],
)
def test_row67_a_server_that_does_not_start_says_why(start, fault, message):
    with pytest.raises(WorkerError, match=message):
        start(fault)


@pytest.mark.parametrize("fault", ["asleep", "half_open"])
def test_row67_a_server_that_is_never_ready_is_ended(start, fault):
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"the model server was not ready within 2 s\n  got:      starting"):
        start(fault, ready_s=2)
    assert time.monotonic() - started < 20


def test_row67_a_server_that_dies_under_load_is_named(start, tmp_path):
    server = start("dies")
    with server, pytest.raises(WorkerError, match="the model server died of SIGKILL"):
        loaded(server, tmp_path).send(Traffic(scenario="single_stream", rate_qps=100, seconds=0.2, lost_after_s=1))


def test_row67_nothing_is_left_of_a_server_that_was_stopped(start, tmp_path):
    with start("well") as server:
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert pids[0] == server.pid
        assert all(is_alive(pid) for pid in pids)
    assert gone(pids)


def test_row67_no_orphan_when_the_parent_is_killed(start, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from pytest_gpuperf.serving.triton import Triton\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "command = [sys.executable, '-m', 'fakes.server', 'well']\n"
        "Triton.start(folder, folder, model='doubler', log=folder / 'log', command=command)\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    path = os.pathsep.join(sys.path)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        assert parent.stdout.readline() == b"ready\n"
        server, child = (int(pid) for pid in (tmp_path / "pids").read_text().split())
        parent.send_signal(signal.SIGKILL)
        assert gone([server])
    finally:
        parent.kill()
        parent.communicate()
        with suppress(ProcessLookupError, NameError):
            os.kill(child, signal.SIGKILL)


@pytest.fixture
def serve():
    servers = []

    def serves(fault="", every=1):
        server, url = fake.start(fake.Doubler(fault, every=every))
        servers.append(server)
        return load.external(url, "doubler")

    yield serves
    for server in servers:
        server.stop(None)


def loaded(server, tmp_path):
    return load.Load(server, {"x": NUMBERS}, {"y": 2 * NUMBERS}, folder=tmp_path / "runs", model="doubler", in_flight=8)


PLAN = Traffic(scenario="server", rate_qps=200, seconds=0.1, queries=60, lost_after_s=1)


@pytest.mark.parametrize(
    ("fault", "word"),
    [("garble", "wrong"), ("shrink", "wrong"), ("nan", "wrong"), ("refuse", "unavailable"), ("lose", "lost")],
)
def test_row68_what_a_server_does_wrong_is_counted_by_its_name(serve, tmp_path, fault, word):
    trial = loaded(serve(fault, every=20), tmp_path).send(PLAN)
    assert trial.problems == ()
    assert trial.faults.keys() == {word}
    assert trial.faults[word] >= len(trial.latencies_ms) // 20 - 1 >= 1


def test_row68_a_good_server_has_no_faults(serve, tmp_path):
    assert loaded(serve(), tmp_path).send(PLAN).faults == {}


def test_an_external_server_without_the_model_is_refused():
    server, url = fake.start(fake.Doubler())
    try:
        with pytest.raises(
            InfraError, match=r"(?s)does not answer as KServe v2 wants it.*NOT_FOUND.*--gpu-serving-url"
        ):
            load.external(url, "other")
        with Client(url) as client:
            assert client.server() == "fake 1.0"
            assert client.inputs("doubler")[0].shape == (-1, 4)
            assert client.statistics("doubler") is None
    finally:
        server.stop(None)
