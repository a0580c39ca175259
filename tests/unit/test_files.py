from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from pytest_gpuperf import files
from pytest_gpuperf.errors import InfraError


def test_write_makes_the_folder_and_leaves_one_file(tmp_path):
    path = tmp_path / "a" / "b.json"
    files.write_bytes(path, b"one")
    files.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [file.name for file in path.parent.iterdir()] == ["b.json"]


def test_failed_write_keeps_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "b.json"
    files.write_bytes(path, b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InfraError) as caught:
        files.write_bytes(path, b"newer")
    assert str(caught.value) == (
        f"cannot write {path}\n"
        "  got:      No space left on device; 5 bytes are needed\n"
        "  next:     free space or fix the folder's permissions; the old file, if any, is untouched"
    )
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["b.json"]


def test_sweep_takes_what_a_dead_writer_left_and_nothing_else(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    host = files._host()
    dead = tmp_path / f".b.json.{host}.{process.pid}.0a0b0c0d.tmp"
    alive = tmp_path / f".b.json.{host}.{os.getpid()}.0a0b0c0d.tmp"
    foreign, old_foreign = tmp_path / ".b.json.other.1.0a.tmp", tmp_path / ".c.json.other.1.0a.tmp"
    strange = tmp_path / ".notes.tmp"
    for path in (dead, alive, foreign, old_foreign, strange):
        path.write_bytes(b"half")
    os.utime(old_foreign, (0, 0))
    assert files.sweep(tmp_path) == (dead, old_foreign)
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, foreign.name, strange.name}


def test_sweep_of_a_missing_folder_is_nothing(tmp_path):
    assert files.sweep(tmp_path / "none") == ()


def test_lock_names_its_holder(tmp_path):
    path = tmp_path / "b.json"
    with files.lock(path), pytest.raises(InfraError) as caught, files.lock(path, timeout_s=0.05):
        pass
    assert str(caught.value).startswith(
        f"{path} is locked by another writer\n  got:      held by process {os.getpid()} on "
    )
    assert "for more than 0.05 s" in str(caught.value)
    assert "wait for it to end" in str(caught.value)


def test_lock_is_freed_when_its_holder_is_killed(tmp_path):
    path = tmp_path / "b.json"
    code = (
        "import sys,time; from pathlib import Path; from pytest_gpuperf import files\n"
        "with files.lock(Path(sys.argv[1])):\n print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InfraError, match=f"process {holder.pid} on"), files.lock(path, timeout_s=0):
            pass
        holder.kill()
    with files.lock(path, timeout_s=5):
        pass


def test_lock_waits_for_the_other(tmp_path):
    path, order = tmp_path / "b.json", []
    entered = threading.Event()

    def first():
        with files.lock(path):
            entered.set()
            time.sleep(0.05)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait()
    with files.lock(path):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_lock_in_a_place_that_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InfraError, match=r"cannot write .*file/b\.json"), files.lock(tmp_path / "file" / "b.json"):
        pass
