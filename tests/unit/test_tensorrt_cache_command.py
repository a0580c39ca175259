"""``gpuperf cache``: what it lists, and what it removes and leaves."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import pytest

from pytest_gpuperf.commands import cache
from pytest_gpuperf.errors import ConfigError

MIB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, days in {
        "onnx/old/model.onnx": 30,
        "tensorrt/new.engine": 1,
        "tensorrt/new.json": 1,
        "notes.txt": 99,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(MIB))
        when = time.time() - days * 86_400
        os.utime(path, (when, when))
    return tmp_path


def run(root: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    cache.add_arguments(parser)
    return cache.run(parser.parse_args(["--cache", str(root), *words]))


def left(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_list_shows_the_least_recently_used_first(root, capsys):
    assert run(root, "list") == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert first.split()[:4] == ["onnx", "old", "1.0", "MiB"]
    assert second.split()[:4] == ["tensorrt", "new", "2.0", "MiB"]
    assert total == f"2 entries, 3.0 MiB, in {root}"


def test_prune_by_age(root, capsys):
    run(root, "prune", "--older-than-days", "7")
    assert capsys.readouterr().out == "removed 1 of 2 entries, 1.0 MiB\n"
    assert left(root) == ["notes.txt", "tensorrt/new.engine", "tensorrt/new.json"]


@pytest.mark.parametrize(("mib", "kept"), [("3", 4), ("2.5", 3), ("1", 1)])
def test_prune_by_size(root, mib, kept):
    run(root, "prune", "--max-mib", mib)
    assert len(left(root)) == kept


def test_clear_leaves_what_is_not_the_caches(root):
    run(root, "clear")
    assert left(root) == ["notes.txt"]


def test_prune_by_nothing(root):
    with pytest.raises(ConfigError, match="nothing to prune by"):
        run(root, "prune")
    assert len(left(root)) == 4
