"""A real Ray cluster of three nodes on this machine, with ``-m cluster``: two profiles, one server dies and returns."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra fleet is not installed")

# Ray leaves its children's log files open, and ends its children itself.
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:.*:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

TESTS = Path(__file__).parents[1]
PROFILE = """
name = "{name}"
description = "a server"
time_budget_s = 0.2
[match]
device = "cpu"
[batches]
default = [8]
[tolerances_pct]
default = 15.0
"""
SUITE = """
import os
import time
from pathlib import Path

import pytest

from pytest_gpuperf import Budget, Model

FAKE = Model(name="fake", source="none", inputs="seeded.py:numbers", root=str(Path(__file__).parent))


@pytest.mark.parametrize("case", ["first", "second"])
def test_engine(engine, batched_inputs, gpuperf, server_profile, case):
    log = Path(os.environ["FLEET_LOG"])
    with log.open("a") as file:
        file.write(f"{server_profile.name} {case}\\n")
    if case == "second" and server_profile.name == "mortal" and log.read_text().count("mortal second") == 1:
        time.sleep(600)  # until its server is lost
    fake = engine(FAKE, "fakes.engine:FakeEngine", device_ms="1")
    gpuperf.check(fake, batched_inputs("seeded.py:numbers", 8, samples=32), Budget(), reference=fake)
"""
SEEDED = "from fakes.inputs import numbers\n"


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("FLEET_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    client = port()
    head = {"num_cpus": 1, "ray_client_server_port": client, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.client = client
    yield cluster
    cluster.shutdown()


def offer(cluster, profile: str):
    return cluster.add_node(num_cpus=1, resources={f"gpuperf:{profile}": 1})


def wait_for(path: Path, text: str, run: subprocess.Popen, out: Path) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and text in path.read_text()):
        assert run.poll() is None, out.read_text()
        assert time.monotonic() < deadline, f"{text!r} never came: {out.read_text()}"
        time.sleep(0.2)


def test_each_profile_runs_on_its_server_and_a_lost_server_is_made_good(cluster, tmp_path):
    suite = tmp_path / "suite"
    suite.mkdir()
    for name in ("steady", "mortal"):
        (suite / f"{name}.toml").write_text(PROFILE.format(name=name))
    (suite / "test_suite.py").write_text(SUITE)
    (suite / "seeded.py").write_text(SEEDED)
    (suite / "pytest.ini").write_text("[pytest]\n")
    offer(cluster, "steady")
    mortal = offer(cluster, "mortal")
    host = cluster.address.partition(":")[0]
    command = [sys.executable, "-m", "pytest", f"--gpu-fleet=ray://{host}:{cluster.client}", "--gpu-trust"]
    command += ["--gpu-profile=steady.toml,mortal.toml", "--gpu-report=markdown", "-p", "no:cacheprovider"]
    with (tmp_path / "out").open("wb") as out:
        run = subprocess.Popen(command, cwd=suite, stdout=out, stderr=out, env=dict(os.environ))
    try:
        wait_for(tmp_path / "log", "mortal second", run, tmp_path / "out")
        time.sleep(1)  # the journal of the first case is fetched
        cluster.remove_node(mortal, allow_graceful=False)
        offer(cluster, "mortal")
        status = run.wait(timeout=120)
    finally:
        run.kill()
        run.wait()
    said = (tmp_path / "out").read_text()

    assert status == 0, said
    for name in ("steady", "mortal"):
        found = json.loads((suite / ".gpuperf" / name / "results.json").read_text())
        assert found["profile"] == name, said
        assert [case["id"] for case in found["cases"]] == [
            f"test_suite.py::test_engine[{c}]" for c in ("first", "second")
        ]
        assert f"{name}: passed (2 cases" in said
    assert "mortal: attempt 1: the server was lost (test_suite.py::test_engine[second])" in said
    log = (tmp_path / "log").read_text().splitlines()
    assert log.count("mortal first") == 1, "a case that ended is not repeated"
    assert log.count("mortal second") == 2
    report = (suite / ".gpuperf" / "report.md").read_text()
    assert "steady" in report
    assert "mortal" in report


@pytest.fixture
def guarded(tmp_path):
    """A cluster of one node that wants a token; yields the address, and an environment that has it."""
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "right" * 8}
    client, head = port(), port()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={head}"]
    command += [f"--ray-client-server-port={client}", "--include-dashboard=false", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1"]
    command += ["--num-cpus=1", """--resources={"gpuperf:steady": 1}"""]
    with (tmp_path / "ray.log").open("wb") as log:
        cluster = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not is_open(client):
            assert cluster.poll() is None, (tmp_path / "ray.log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "ray.log").read_text()
            time.sleep(0.2)
        yield f"ray://127.0.0.1:{client}", environment
    finally:
        cluster.terminate()
        cluster.wait(timeout=60)


def is_open(number: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", number)) == 0


def test_a_cluster_that_wants_a_token_lets_only_its_holder_in(guarded, tmp_path):
    address, environment = guarded
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "steady.toml").write_text(PROFILE.format(name="steady"))
    (suite / "test_suite.py").write_text("def test_nothing(): pass\n")
    (suite / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", f"--gpu-fleet={address}", "--gpu-profile=steady.toml"]

    def run(token: str) -> subprocess.CompletedProcess[str]:
        given = {**environment, "RAY_AUTH_TOKEN": token * 8}
        return subprocess.run(command, cwd=suite, env=given, capture_output=True, text=True, timeout=180, check=False)

    right, wrong = run("right"), run("wrong")

    assert right.returncode == 0, right.stdout + right.stderr
    assert "steady: passed (0 cases" in right.stdout
    assert wrong.returncode == pytest.ExitCode.USAGE_ERROR, wrong.stdout + wrong.stderr
    assert "gpuperf: the Ray cluster does not answer" in wrong.stderr
