"""The cache: one builder, nothing trusted that is not whole. Every race and death is real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_gpuperf.convert.cache import Cache, files_sha256
from pytest_gpuperf.errors import InfraError

RECIPE = {"model": "m", "precision": "fp32"}

CHILD = """
import pathlib, sys, time
from pytest_gpuperf.convert.cache import Cache
root, log, pause = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), float(sys.argv[3])
def build(path):
    with log.open("a") as file:
        file.write("build\\n")
    path.write_bytes(b"half")
    time.sleep(pause)
    path.write_bytes(b"whole")
artefact = Cache(root).get_or_build("onnx", {"model": "m", "precision": "fp32"}, build, progress=print)
print(artefact.sha256, flush=True)
"""


def write(content):
    return lambda path: path.write_bytes(content)


def never(path):
    raise AssertionError(f"built again: {path}")


def quiet(text):
    raise AssertionError(text)


def child(tmp_path, pause):
    arguments = [sys.executable, "-c", CHILD, str(tmp_path / "cache"), str(tmp_path / "log"), str(pause)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_builds_once_and_then_reads(tmp_path):
    cache = Cache(tmp_path)
    built = cache.get_or_build("onnx", RECIPE, write(b"x"), progress=quiet)
    assert cache.get_or_build("onnx", RECIPE, never, progress=quiet) == built
    assert Path(built.path).read_bytes() == b"x"
    assert Path(built.path).suffix == ".onnx"
    assert built.sha256 == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert built.recipe == RECIPE


@pytest.mark.parametrize("recipe", [{"model": "m", "precision": "int8"}, {"model": "m"}, {"model": "m", "x": "fp32"}])
def test_another_recipe_is_another_entry(tmp_path, recipe):
    cache = Cache(tmp_path)
    first = cache.get_or_build("onnx", RECIPE, write(b"x"), progress=quiet)
    assert cache.get_or_build("onnx", recipe, write(b"y"), progress=quiet).path != first.path
    assert cache.get_or_build("savedmodel", RECIPE, write(b"y"), progress=quiet).path != first.path


def test_a_folder_is_known_by_its_relative_paths_and_contents(tmp_path):
    def build(path):
        (path / "variables").mkdir(parents=True)
        (path / "variables" / "data").write_bytes(b"x")

    artefact = Cache(tmp_path).get_or_build("savedmodel", RECIPE, build, progress=quiet)
    assert artefact.sha256 == files_sha256(
        {"variables/data": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
    )
    Path(artefact.path, "more").write_bytes(b"")
    said = []
    Cache(tmp_path).get_or_build("savedmodel", RECIPE, build, progress=said.append)
    assert len(said) == 1


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda path: path.write_bytes(b"y"), id="changed"),
        pytest.param(lambda path: path.write_bytes(b""), id="truncated"),
        pytest.param(Path.unlink, id="gone"),
        pytest.param(lambda path: path.with_name("manifest.json").write_text("{"), id="manifest"),
        pytest.param(lambda path: path.with_name("manifest.json").write_text("[]"), id="manifest of another form"),
        pytest.param(lambda path: path.with_name("manifest.json").unlink(), id="no manifest"),
    ],
)
def test_a_damaged_entry_is_made_again_and_that_is_said(tmp_path, damage):
    cache, said = Cache(tmp_path), []
    built = cache.get_or_build("onnx", RECIPE, write(b"x"), progress=quiet)
    damage(Path(built.path))
    assert cache.get_or_build("onnx", RECIPE, write(b"x"), progress=said.append) == built
    assert Path(built.path).read_bytes() == b"x"
    assert said == [f"the cached onnx {Path(built.path).parent.name} is damaged: it is made again"]


def test_a_copied_entry_is_checked_by_digest_and_kept(tmp_path):
    cache = Cache(tmp_path)
    path = Path(cache.get_or_build("onnx", RECIPE, write(b"x"), progress=quiet).path)
    os.utime(path, ns=(1, 1))
    assert cache.get_or_build("onnx", RECIPE, never, progress=quiet).path == str(path)
    manifest = json.loads(path.with_name("manifest.json").read_text())
    assert manifest["files"]["model.onnx"]["mtime_ns"] == 1


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Cache(tmp_path).get_or_build("onnx", RECIPE, fail, progress=quiet)
    assert [path.name for path in (tmp_path / "onnx").iterdir() if not path.name.endswith(".lock")] == []


def test_of_two_processes_one_builds_and_the_other_waits(tmp_path):
    first = child(tmp_path, 1)
    wait_for((tmp_path / "log").exists)
    second = child(tmp_path, 1)
    outputs = [process.communicate(timeout=30)[0].splitlines() for process in (first, second)]
    assert (tmp_path / "log").read_text() == "build\n"
    assert outputs[1] == ["waiting for another process that makes the same onnx", *outputs[0]]


def test_nothing_of_a_killed_builder_is_trusted(tmp_path):
    killed = child(tmp_path, 60)
    wait_for((tmp_path / "log").exists)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)
    said = []
    artefact = Cache(tmp_path / "cache").get_or_build("onnx", RECIPE, write(b"whole"), progress=said.append)
    assert Path(artefact.path).read_bytes() == b"whole"
    assert said == ["removing what a killed process left of the same onnx"]
    names = {path.name for path in (tmp_path / "cache" / "onnx").iterdir() if not path.name.endswith(".lock")}
    assert names == {Path(artefact.path).parent.name}


def test_a_cache_that_cannot_be_written_is_the_machines_fault(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraError, match=r"cannot make .*\n  got: +Not a directory\n  next: +free space or fix"):
        Cache(tmp_path / "file").get_or_build("onnx", RECIPE, write(b"x"), progress=quiet)
