"""A function in a user's file: found by name, run once, and forgotten if it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.script import Script


def script(folder: Path, text: str, function: str = "make") -> Script:
    (folder / "made.py").write_text(text)
    return Script.find(f"made.py:{function}", str(folder))


@pytest.mark.parametrize("reference", ["made.py", "made.txt:make", "made.py:1st", ":make", ""])
def test_what_is_no_function_in_a_file_is_refused(tmp_path: Path, reference: str) -> None:
    with pytest.raises(ConfigError, match="not a function in a file") as caught:
        Script.find(reference, str(tmp_path))
    assert "path/to/file.py:function" in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as caught:
        Script.find("gone.py:make", str(tmp_path))
    assert str(tmp_path / "gone.py") in str(caught.value)
    assert "it is named 'gone.py:make'" in str(caught.value)


def test_a_file_is_run_once_and_two_of_one_name_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one = script(tmp_path, "runs = []\nruns.append(1)\ndef make(): return runs")
    two = script(tmp_path / "other", "def make(): return 'other'")
    assert one.load()() == one.load()() == [1]
    assert two.load()() == "other"


def test_only_a_function_will_do(tmp_path: Path) -> None:
    found = script(tmp_path, "make = 3\ndef other(): ...")
    with pytest.raises(ConfigError, match="has no function 'make'"):
        found.load()
    assert found.has("other")
    assert not found.has("make")
    assert not found.has("missing")


def test_a_file_that_fails_is_run_anew_the_next_time(tmp_path: Path) -> None:
    found = script(tmp_path, "raise OSError('no weights yet')")
    for _ in range(2):
        with pytest.raises(OSError, match="no weights yet"):
            found.load()
    script(tmp_path, "def make(): return 'now'")
    assert found.load()() == "now"
