"""Lost servers without a cluster: what is repeated, what is not, and when a run is given up."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from types import SimpleNamespace

import pytest

from pytest_gpuperf.errors import ConfigError, InfraError
from pytest_gpuperf.fleet import connection, schedule
from pytest_gpuperf.fleet.run import report
from pytest_gpuperf.fleet.schedule import LostError
from pytest_gpuperf.fleet.station import News, Station
from pytest_gpuperf.records import CaseResult, Status, Verdict
from pytest_gpuperf.report import results
from pytest_gpuperf.report.journal import Journal


def lines(path, *ids: str, status: Status = Status.PASSED) -> bytes:
    journal = Journal(path, results.document("a40", None, [], is_complete=False))
    for id_ in ids:
        verdict = Verdict(status=status, reason="ok")
        case = CaseResult(id=id_, suite="s", model="m", engine="e", precision="fp32", batch=1, verdict=verdict)
        journal.add(case, seconds=1.0)
    return path.read_bytes()


class Scripted:
    """A station that says what it is told to, and is lost where the script ends without a status."""

    def __init__(self, *news: News) -> None:
        self.news = list(news)

    def poll(self, journal: int, output: int) -> News:
        if not self.news:
            raise LostError("the server was lost")
        return self.news.pop(0)

    def stop(self) -> None:
        pass


def news(journal: bytes = b"", current: str = "", status: int | None = None) -> News:
    return News(journal=journal, output=b"", current=current, status=status)


def run(tmp_path, *stations: Scripted):
    asked, left = [], list(stations)

    def launch(done):
        asked.append(list(done))
        return left.pop(0)

    done = schedule.run("a40", tmp_path / "out", launch, say=len, sleep=lambda _: None)
    return done, done.write(), asked


def test_lost_server_is_made_good_and_what_ended_is_not_repeated(tmp_path):
    first = Scripted(news(lines(tmp_path / "1", "t.py::a"), current="t.py::b"))
    again = Scripted(news(lines(tmp_path / "2", "t.py::b"), status=0))

    done, found, asked = run(tmp_path, first, again)

    assert asked == [[], ["t.py::a"]]
    assert [case.id for case in found.cases] == ["t.py::a", "t.py::b"]
    assert done.losses == ["attempt 1: the server was lost (t.py::b)"]
    assert found.is_complete


@pytest.mark.parametrize(
    ("before", "policy", "status"),
    [(Status.PASSED, {}, 0), (Status.REGRESSED, {}, 1), (Status.REGRESSED, {Status.REGRESSED: "warn"}, 0)],
)
def test_what_failed_before_its_server_was_lost_is_not_forgotten(tmp_path, before, policy, status):
    first = Scripted(news(lines(tmp_path / "1", "t.py::a", status=before), current="t.py::b"))
    done, _, _ = run(tmp_path, first, Scripted(news(lines(tmp_path / "2", "t.py::b"), status=0)))
    settings = SimpleNamespace(policy=policy, out=tmp_path, report=(), infra_exit=0)
    said, junit = [], tmp_path / "junit.xml"
    assert report([done], settings, say=said.append, junit=junit) == status
    assert junit.read_text().count("<testcase") == 2
    assert f"a40: {'failed' if status else 'passed'} (2 cases" in said[-1]


def test_result_that_comes_twice_counts_once(tmp_path):
    first = Scripted(news(lines(tmp_path / "1", "t.py::a"), current="t.py::b"))
    again = Scripted(news(lines(tmp_path / "2", "t.py::a", "t.py::b"), status=0))

    assert [case.id for case in run(tmp_path, first, again)[1].cases] == ["t.py::a", "t.py::b"]


def test_half_a_test_is_repeated_whole(tmp_path):
    first = Scripted(news(lines(tmp_path / "1", "t.py::a"), current="t.py::a"))
    again = Scripted(news(lines(tmp_path / "2", "t.py::a", "t.py::a#2"), status=0))

    assert run(tmp_path, first, again)[2] == [[], []]


def test_case_that_loses_three_servers_is_infra(tmp_path):
    done, found, asked = run(tmp_path, *(Scripted(news(current="t.py::a")) for _ in range(3)))

    assert len(asked) == 1 + schedule.RESUBMISSIONS
    assert [(case.id, case.verdict.status) for case in found.cases] == [("t.py::a", Status.INFRA)]
    assert found.cases[0].verdict.reason == "the server was lost 3 times"
    assert done.status is None
    assert not found.is_complete


def test_profile_without_a_server_is_infra(tmp_path):
    def launch(done):
        raise InfraError("no server of the profile a40 is to be had")

    found = schedule.run("a40", tmp_path, launch, say=len).write()

    assert [(case.id, case.verdict.status) for case in found.cases] == [("profile a40", Status.INFRA)]


@pytest.mark.parametrize(
    ("version", "environ"), [("2.51.9", {"RAY_AUTH_MODE": "token"}), ("2.60.0", {}), ("2.60.0", {"RAY_AUTH_MODE": "x"})]
)
def test_remote_cluster_without_a_token_is_refused(version, environ):
    with pytest.raises(ConfigError, match="does not authenticate") as refused:
        connection.check("ray://gpu-head:10001", version=version, environ=environ, is_trusted=False)

    assert "--gpu-trust" in str(refused.value)


@pytest.mark.parametrize(
    ("address", "environ", "is_trusted"),
    [
        ("ray://gpu-head:10001", {"RAY_AUTH_MODE": "token"}, False),
        ("ray://gpu-head:10001", {}, True),
        ("ray://127.0.0.1:10001", {}, False),
        ("ray://localhost:10001", {}, False),
        ("ray://[::1]:10001", {}, False),
    ],
)
def test_cluster_with_a_token_or_trust_or_at_home_is_used(address, environ, is_trusted):
    connection.check(address, version="2.52.0", environ=environ, is_trusted=is_trusted)


def scripted_ray(monkeypatch, *answers):
    """Put a Ray in place whose ``init`` answers so, one call after the other; returns what it was asked."""
    asked, left = [], list(answers)

    def init(**arguments):
        asked.append(arguments)
        if answer := left.pop(0):
            raise answer

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, __version__="2.60.0"))
    return asked


def test_cluster_whose_own_process_died_at_its_start_is_asked_once_more(tmp_path, monkeypatch):
    asked = scripted_ray(monkeypatch, ConnectionAbortedError("Initialization failure from server"), None)

    connection.connect("ray://localhost:10001", folder=tmp_path, is_trusted=False)

    assert [each["runtime_env"]["working_dir"] for each in asked] == [str(tmp_path)] * 2


@pytest.mark.parametrize(("answers", "times"), [([ConnectionError("no")], 1), ([ConnectionAbortedError("no")] * 2, 2)])
def test_cluster_that_does_not_answer_is_infra(tmp_path, monkeypatch, answers, times):
    asked = scripted_ray(monkeypatch, *answers)

    with pytest.raises(InfraError, match="the Ray cluster does not answer") as refused:
        connection.connect("ray://localhost:10001", folder=tmp_path, is_trusted=False)

    assert len(asked) == times
    assert "ray://localhost:10001: no" in str(refused.value)


@pytest.mark.parametrize(
    ("offered", "needs"),
    [
        ({"gpuperf:a100-80gb": 1.0, "accelerator_type:A100": 1.0}, {"gpuperf:a100-80gb": 1}),
        ({"accelerator_type:A100": 1.0}, {"accelerator_type:A100": 0.001, "GPU": 1}),
        ({"accelerator_type:A40": 1.0}, {"gpuperf:a100-80gb": 1}),
    ],
)
def test_profile_finds_its_server(offered, needs):
    assert connection.resources("a100-80gb", offered) == needs


def test_a_station_runs_in_a_copy_and_leaves_nothing(tmp_path, monkeypatch):
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "test_it.py").write_text("import os, time\ndef test_it():\n    time.sleep(1)\n    os.getcwd()\n")
    (sent / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(sent)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    station = Station(["-q", "-p", "no:cacheprovider"], ".")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(sent)  # as Ray does when a node is lost

    output = b""
    while (news := station.poll(0, len(output))).status is None:
        output += news.output
    output += news.output

    assert news.status == 0, output.decode()
    station.stop()
    assert list(tmp_path.glob("gpuperf-*")) == []


def test_a_station_that_is_stopped_ends_its_pytest(tmp_path, monkeypatch):
    (tmp_path / "test_it.py").write_text("import time\ndef test_it(): time.sleep(60)\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    station = Station(["-q", "-p", "no:cacheprovider"], ".")
    while not station.poll(0, 0).current:
        time.sleep(0.05)
    station.stop()
    assert station.poll(0, 0).status is not None
