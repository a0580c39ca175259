"""Faults of a whole session (rows 55 to 58, 60, 61 and 74 of docs/faults.md): what else was measured is not lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from fakes.repository import Repository

from pytest_gpuperf.cli import main

#: What may follow a missed deadline: dump, SIGTERM, SIGKILL, and the other test.
GRACE_S = 5.0
FIRST, LAST = "test_suite.py::test_engine[fast]", "test_suite.py::test_engine[slow]"


@pytest.fixture
def start(repository: Repository) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start pytest as a process of its own."""
    with ExitStack() as stack:

        def run(*arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "pytest", "--gpu-profile=cpu", "--gpu-time-budget=0.3", *arguments]
            process = subprocess.Popen(command, cwd=repository.path, stdout=subprocess.PIPE, text=True)
            stack.callback(process.kill)
            return process

        yield run


def journal(repository: Repository) -> list[dict]:
    """Return what is on the disk so far."""
    path = repository.path / ".gpuperf" / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measured(repository: Repository) -> dict[str, str]:
    """Return verdict by case id, from the journal."""
    return {entry["case"]["id"]: entry["case"]["verdict"] for entry in journal(repository) if "case" in entry}


def wait_until_the_last_case_hangs(repository: Repository) -> int:
    """Return the pid of the process that hangs."""
    record = repository.path / "pid"
    deadline = time.monotonic() + 60
    while not (measured(repository) and record.exists() and record.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(record.read_text().split()[0])


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.05)
                continue
        return True
    return False


@pytest.fixture
def hanging(repository: Repository) -> Repository:
    """The first case is fine, the last one sleeps for ever."""
    repository.script("slow", device_ms="3", fault="sleep", at="2", record=str(repository.path / "pid"))
    return repository


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]], ids=["term", "int-then-term"])
def test_row60_a_cancelled_run_writes_what_it_has(start, hanging, signals):
    run = start("--junitxml=junit.xml")
    child = wait_until_the_last_case_hangs(hanging)
    for number in signals:
        run.send_signal(number)
        time.sleep(0.2)
    output, _ = run.communicate(timeout=60)

    assert run.returncode == pytest.ExitCode.INTERRUPTED, output
    document = json.loads((hanging.path / ".gpuperf" / "results.json").read_text())
    assert [case["id"] for case in document["cases"]] == [FIRST]
    assert document["is_complete"] is False
    assert "KeyboardInterrupt" in output
    names = {case.get("name") for case in ET.parse(hanging.path / "junit.xml").iter("testcase")}
    assert names - {None} == {"test_engine[fast]"}  # pytest leaves the unfinished one without a name
    assert is_gone(child)


def test_row60_a_killed_run_is_rebuilt_from_its_journal(start, hanging, capsys):
    run = start()
    child = wait_until_the_last_case_hangs(hanging)
    run.kill()
    run.communicate(timeout=60)
    path = hanging.path / ".gpuperf" / "journal.jsonl"
    with path.open("ab") as file:
        file.write(b'{"case":{"id":"cut o')  # what a kill in the middle of a write leaves

    assert not (hanging.path / ".gpuperf" / "results.json").exists()
    assert main(["report", "--resume"]) == 0
    assert "The run was interrupted; cases are missing." in capsys.readouterr().out
    assert hanging.verdicts() == {FIRST: "new"}
    assert is_gone(child)


def test_row60_the_journal_of_a_whole_run_gives_the_same_results(repository):
    repository.run()
    path = repository.path / ".gpuperf" / "results.json"
    written = json.loads(path.read_text())
    path.unlink()

    assert main(["report", "--resume", "--format=csv"]) == 0
    rebuilt = json.loads(path.read_text())
    assert rebuilt.pop("seconds") == pytest.approx(written.pop("seconds"), abs=1)
    assert rebuilt == written


def test_row60_a_second_run_begins_its_own_journal(repository):
    repository.run()
    repository.run("-k", "fast")
    assert set(measured(repository)) == {FIRST}
    repository.run("-k", "nothing")
    assert set(measured(repository)) == {FIRST}


def test_row60_a_journal_that_cannot_be_written_costs_no_result(repository):
    (repository.path / ".gpuperf" / "journal.jsonl").mkdir(parents=True)
    result = repository.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["there is no journal of this run: *journal.jsonl: Is a directory"])
    assert set(repository.verdicts()) == {FIRST, LAST}


def test_row60_somebody_elses_handler_of_sigterm_stays(repository):
    (repository.path / "conftest.py").write_text(
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + (repository.path / "conftest.py").read_text()
    )
    with_theirs = signal.getsignal(signal.SIGTERM)
    try:
        repository.run("-k", "fast")
        assert signal.getsignal(signal.SIGTERM) in (signal.SIG_IGN, with_theirs)
    finally:
        signal.signal(signal.SIGTERM, with_theirs)


#: Row of the matrix → what an engine does, and a part of what its test's failure says.
DEATHS = {
    "row55_out_of_memory": ("engine", "out of device memory"),
    "row56_sticky_error": ("error", "kernel launch failed"),
    "row57_segfault": ("segfault", "died of SIGSEGV"),
    "row57_exit_0": ("exit0", "ended with exit status 0"),
    "row57_oom_kill": ("kill", "died of SIGKILL"),
    "row57_sigterm": ("term", "died of SIGTERM"),
    "row58_native_deadlock": ("hang", "did not answer within 2 s"),
}


def test_exactly_one_test_is_affected(repository):
    for row, (fault, _) in DEATHS.items():
        repository.script(row, device_ms="1", fault=fault, at="3", record=str(repository.path / f"{row}.pid"))
    suite = repository.path / "test_suite.py"
    suite.write_text(suite.read_text().replace('["fast", "slow"]', repr(["slow", *DEATHS, "fast"])))

    result = repository.run("--junitxml=junit.xml", "--gpu-timeout=2")

    result.assert_outcomes(passed=2, failed=len(DEATHS))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert measured(repository) == repository.verdicts()
    green = {case_id for case_id, verdict in measured(repository).items() if verdict == "new"}
    assert green == {FIRST, LAST}
    failures = {case.get("name"): case.find("failure") for case in ET.parse("junit.xml").iter("testcase")}
    assert failures["test_engine[fast]"] is None
    assert failures["test_engine[slow]"] is None
    for row, (_, text) in DEATHS.items():
        assert text in failures[f"test_engine[{row}]"].text
        assert is_gone(int((repository.path / f"{row}.pid").read_text().split()[0]))


@pytest.mark.parametrize("arguments", [(), ("--max-worker-restart=0",)], ids=["restarted", "not-restarted"])
def test_row61_a_dead_xdist_worker_costs_its_own_test(repository, arguments):
    (repository.path / "test_killer.py").write_text(
        "import os, signal\ndef test_killer(): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    result = repository.run("-n2", "--dist=loadfile", *arguments)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*worker 'gw*' crashed while running 'test_killer.py::test_killer'*"])
    assert repository.verdicts() == {FIRST: "new", LAST: "new"}


def test_row74_an_error_of_our_own_while_writing_is_no_success(start, repository):
    (repository.path / "conftest.py").write_text(
        (repository.path / "conftest.py").read_text()
        + "from pytest_gpuperf.session import Session\n"
        + "def broken(self): raise RuntimeError('planted')\n"
        + "Session._propose = broken\n"
    )
    run = start()
    output, _ = run.communicate(timeout=60)
    assert run.returncode == pytest.ExitCode.INTERNAL_ERROR
    assert "RuntimeError: planted" in output
    assert set(measured(repository)) == {FIRST, LAST}


def test_no_process_of_a_session_is_left(start, repository):
    run = start()
    run.communicate(timeout=60)
    left = [
        pid
        for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
        if str(repository.path).encode() in _environ(pid)
    ]
    assert left in ([], [os.getpid()])


def _environ(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""
