"""One holder per device; whoever waits is told for whom."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_gpuperf.errors import InfraError
from pytest_gpuperf.worker import lock


def test_the_second_holder_is_told_about_the_first(tmp_path: Path) -> None:
    said: list[str] = []
    holder = rf"pid {os.getpid()} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
    with lock.hold("GPU-0d3f", timeout_s=1, folder=tmp_path), pytest.raises(InfraError) as caught:
        lock.hold("GPU-0d3f", timeout_s=0.1, folder=tmp_path, progress=said.append).__enter__()
    assert caught.value.what == "another process measures on GPU-0d3f"
    assert re.fullmatch(holder, caught.value.got or "")
    assert caught.value.expected == "the device to be free within 0.1 s"
    assert len(said) == 1
    assert re.fullmatch(f"waiting for GPU-0d3f: {holder}", said[0])


def test_different_devices_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with lock.hold("cpu", timeout_s=0, folder=tmp_path), lock.hold("GPU-1", timeout_s=0, folder=tmp_path):
        assert len(list(tmp_path.glob("*.lock"))) == 2


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock.hold("cpu", timeout_s=0, folder=tmp_path):
        raise KeyError
    with lock.hold("cpu", timeout_s=0, folder=tmp_path):
        pass
    assert not list(tmp_path.glob("*.holder.json"))


def test_whoever_waits_gets_it_when_it_is_freed(tmp_path: Path) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def wait() -> None:
        with lock.hold("cpu", timeout_s=30, folder=tmp_path, progress=lambda _: waiting.set()):
            order.append("second")

    with lock.hold("cpu", timeout_s=0, folder=tmp_path):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_killed_holder_leaves_the_lock_free(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from pytest_gpuperf.worker import lock\n"
        f"with lock.hold('cpu', timeout_s=0, folder=Path({str(tmp_path)!r})):\n"
        "    print('held', flush=True); time.sleep(3600)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InfraError, match="another process measures on cpu") as caught:
            lock.hold("cpu", timeout_s=0, folder=tmp_path).__enter__()
        assert f"pid {holder.pid} on" in (caught.value.got or "")
        holder.kill()
    with lock.hold("cpu", timeout_s=5, folder=tmp_path):
        pass


def test_a_device_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with lock.hold("../../etc/passwd", timeout_s=0, folder=tmp_path / "locks"):
        assert [path.name for path in (tmp_path / "locks").glob("*.lock")] == ["______etc_passwd.lock"]


def test_a_folder_that_cannot_be_written_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file")
    with pytest.raises(InfraError, match="the lock of cpu cannot be taken"):
        lock.hold("cpu", timeout_s=0, folder=tmp_path / "locks").__enter__()


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"pid": 1}', "\x00"])
def test_an_unreadable_signature_is_no_error(tmp_path: Path, note: str) -> None:
    with lock.hold("cpu", timeout_s=0, folder=tmp_path):
        (tmp_path / "cpu.holder.json").write_text(note)
        with pytest.raises(InfraError) as caught:
            lock.hold("cpu", timeout_s=0, folder=tmp_path).__enter__()
    assert caught.value.got == "a process that has not signed"
