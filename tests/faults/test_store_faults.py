"""What happens to baselines when the machine fails in the middle: in processes of their own, with real limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_gpuperf import baselines, files
from pytest_gpuperf.errors import InfraError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "baselines" / "v1.json"
WRITER = """
    import sys
    from pathlib import Path
    from pytest_gpuperf import baselines
    from pytest_gpuperf.errors import InfraError
    from pytest_gpuperf.records import Metric, Provenance

    def entry(value):
        return baselines.summarise(
            {"latency_p50_ms": Metric(value=value, unit="ms")}, {}, conditions={"batch": "8"},
            provenance=Provenance(kind="measured", date="2026-11-22", reason="r"),
        )

    path = Path(sys.argv[1])
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "baselines" / "a40" / "resnet50.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(GOLDEN.read_bytes())
    return path


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    program = textwrap.dedent(WRITER) + textwrap.dedent(code)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def test_a_full_disk_keeps_the_old_file_and_says_what_is_missing(path):
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
        try:
            baselines.update(path, {f"a.py::t[{i}]": entry(i + 1.0) for i in range(20)})
        except InfraError as error:
            print(error)
    """
    message = finish(start(code, path))
    assert message.startswith(f"cannot write {path}\n  got:      File too large; ")
    assert "bytes are needed" in message
    assert "the old file, if any, is untouched" in message
    assert path.read_bytes() == GOLDEN.read_bytes()
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".tmp"] == []


def test_a_read_only_checkout_keeps_the_pending_results_and_says_where(path, tmp_path):
    """In a mount of its own where root is refused too; elsewhere as a user without permission."""
    code = """
        from pytest_gpuperf import approval
        from pytest_gpuperf.baselines import Result
        from pytest_gpuperf.records import Status
        import dataclasses, os
        out = Path(sys.argv[2])
        made = entry(1.0)
        made = dataclasses.replace(made, provenance=dataclasses.replace(made.provenance, reason=""))
        waiting = baselines.pending_path(out, "a40", "resnet50")
        baselines.update_pending(waiting, {"a.py::t": made}, {"a.py::t": Result(verdict=Status.NEW, reason="new")})
        os.chmod(path.parent, 0o555)
        if os.getuid() == 0:
            os.chown(out, 65534, 65534)
            os.setgid(65534)
            os.setuid(65534)
        try:
            approval.accept(baselines.read_pending(waiting), {"a.py::t"}, root=path.parents[1], reason="r",
                            approver="A", source=str(waiting))
        except InfraError as error:
            print(error)
        print(list(baselines.read_pending(waiting).entries))
    """
    if os.getuid() == 0:  # the other user must come as far as this folder, also where xdist puts one more between
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
    out = tmp_path / "out"
    out.mkdir()
    message = finish(start(code, path, out))
    path.parent.chmod(0o755)
    assert message.startswith(f"cannot write {path}\n  got:      Permission denied\n")
    assert f"nothing is lost: the results are still in {out}/pending/a40/resnet50.json; fix the cause" in message
    assert message.endswith("['a.py::t']\n")
    assert path.read_bytes() == GOLDEN.read_bytes()


def test_killed_writers_leave_whole_files_and_what_they_left_is_swept(path):
    code = """
        import itertools
        print("ready", flush=True)
        for i in itertools.count(1):
            baselines.update(path, {f"a.py::t[{j}]": entry(float(i)) for j in range(20)})
    """
    for attempt in range(10):
        with start(code, path) as process:
            assert process.stdout.readline() == "ready\n"
            try:
                process.wait(timeout=0.003 * attempt)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        values = {
            entry.metrics["latency_p50_ms"].value
            for case, entry in baselines.read(path).entries.items()
            if "a.py" in case
        }
        assert len(values) <= 1  # all of one write or all of another
    files.sweep(path.parent)
    assert {file.name for file in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


def test_the_next_update_sweeps_what_a_killed_writer_left(path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    stray = path.parent / f".{path.name}.{files._host()}.{process.pid}.00000000.tmp"
    stray.write_bytes(b"half")
    baselines.update(path, {}, remove={"none"})
    assert not stray.exists()


def test_writers_at_the_same_time_lose_nothing(path):
    code = """
        for i in range(20):
            baselines.update(path, {f"a.py::t[{sys.argv[2]}-{i}]": entry(1.0)})
    """
    for process in [start(code, path, writer) for writer in range(4)]:
        finish(process)
    assert len([case for case in baselines.read(path).entries if case.startswith("a.py")]) == 80


def test_a_hanging_writer_is_named(path):
    code = """
        from pytest_gpuperf import files
        with files.lock(path):
            print("held", flush=True)
            sys.stdin.read()
    """
    with start(code, path) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(InfraError, match=rf"held by process {process.pid} on {os.uname().nodename}"),
            files.lock(path, timeout_s=0.01),
        ):
            pass
        process.kill()
