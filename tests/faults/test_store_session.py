"""Damaged, foreign and stale baselines in a session (rows 1 to 23 of docs/faults.md): never exit 0 by accident."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.repository import Repository

FIRST, LAST = "test_suite.py::test_engine[fast]", "test_suite.py::test_engine[slow]"


@pytest.fixture
def baseline(repository: Repository) -> Path:
    repository.approve()
    return repository.path / "baselines" / "cpu" / "suite.json"


def edited(content: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(content), **changes}).encode()


#: Row of the matrix → damage, and a part of what the session says.
DAMAGE = {
    "row01_truncated": (lambda whole: whole[: len(whole) // 2], "git checkout"),
    "row02_conflict_marks": (lambda whole: b"<<<<<<< HEAD\n" + whole, "gpuperf merge"),
    "row03_empty": (lambda _: b"", "the file is empty"),
    "row03_byte_order_mark": (lambda whole: b"\xef\xbb\xbf" + whole, "byte-order mark"),
    "row03_nul": (lambda whole: whole.replace(b"suite", b"su\0te", 1), "not JSON"),
    "row04_not_a_number": (lambda whole: whole.replace(b'"n_processes": 1', b'"n_processes": NaN', 1), "NaN"),
    "row05_duplicate_key": (lambda whole: whole.replace(b"{", b'{"profile": "cpu",', 1), "stands twice"),
    "row06_deep_nesting": (lambda _: b"[" * 100_000, "nested more than 16 deep"),
    "row07_newer_schema": (lambda whole: edited(whole, schema_version=99), "upgrade"),
    "row09_unknown_field": (lambda whole: edited(whole, more=1), "unknown field `more`"),
}


@pytest.mark.parametrize("row", DAMAGE)
def test_damage_ends_the_session_before_measuring(repository, baseline, row):
    damage, text = DAMAGE[row]
    content = damage(baseline.read_bytes())
    assert content != baseline.read_bytes()
    baseline.write_bytes(content)
    result = repository.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "suite.json" in result.stderr.str()
    assert text in result.stderr.str()
    assert baseline.read_bytes() == content
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_row17_workers_measure_and_the_controller_writes(repository):
    repository.run("-n2", "--gpu-update=all")
    pending = json.loads((repository.path / ".gpuperf" / "pending" / "cpu" / "suite.json").read_text())
    assert set(pending["cases"]) == {FIRST, LAST}


def test_row20_a_baseline_of_another_engine_version_is_not_comparable(repository, baseline):
    repository.script("fast", device_ms="1", device="cuda:0")
    result = repository.run()
    result.assert_outcomes(passed=1, failed=1)
    assert repository.verdicts() == {FIRST: "not_comparable", LAST: "passed"}
    result.stdout.fnmatch_lines(["not_comparable: *device was cpu, is cuda*"])


def test_row21_a_number_that_its_samples_do_not_support_is_refused(repository, baseline):
    content = json.loads(baseline.read_bytes())
    content["cases"][FIRST]["metrics"]["speed_ratio"]["value"] /= 2
    baseline.write_text(json.dumps(content))
    result = repository.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "samples" in result.stderr.str()


def test_row23_what_could_not_be_measured_is_not_proposed(repository):
    repository.script("fast", device_ms="1", fault="segfault", at="3")
    result = repository.run("--gpu-update=all")
    pending = json.loads((repository.path / ".gpuperf" / "pending" / "cpu" / "suite.json").read_text())
    assert set(pending["cases"]) == {LAST}
    result.stdout.fnmatch_lines([f"not pending: {FIRST.replace('[', '[[]')}: *"])
