from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_gpuperf import interop
from pytest_gpuperf.errors import GpuPerfError


def saved(tmp_path: Path, stats: object = None, **fields: object) -> Path:
    benchmark = {"fullname": "test_a.py::test_a", "stats": {"median": 0.002} if stats is None else stats, **fields}
    path = tmp_path / "saved.json"
    path.write_text(json.dumps({"version": "4.0.0", "datetime": "2026-01-02T03:04:05", "benchmarks": [benchmark]}))
    return path


def read(path: Path) -> interop.Pending:
    return interop.read(path, profile="cpu", suite="a")


def test_an_entry_says_where_it_comes_from(tmp_path: Path) -> None:
    entry = read(saved(tmp_path)).entries["test_a.py::test_a"]
    assert entry.metrics["latency_p50_ms"].value == 2.0
    assert entry.metrics["latency_p50_ms"].n_processes == 1
    assert entry.provenance.source == "imported from pytest-benchmark 4.0.0: saved.json"
    assert entry.provenance.date == "2026-01-02"
    assert entry.conditions == {"imported_from": "pytest-benchmark 4.0.0"}


@pytest.mark.parametrize(
    ("stats", "message"),
    [
        ({"median": 0}, "no call takes that long"),
        ({"median": -1.0}, "no call takes that long"),
        ({"median": 1e9}, "at most 3600 seconds"),
        ({"median": True}, "got:      True"),
        ({"median": "fast"}, "got:      'fast'"),
        ({"median": float("nan")}, "NaN"),
        ({"median": float("inf")}, "Infinity"),
        ({}, "stats.median"),
        ([], "stats is missing"),
        ({"median": 0.002, "data": [0.001, 0.001]}, "edited by hand"),
        ({"median": 0.002, "data": [0.002, -1]}, r"stats.data[1]"),
    ],
)
def test_absurd_numbers_are_refused(tmp_path: Path, stats: object, message: str) -> None:
    with pytest.raises(GpuPerfError) as caught:
        read(saved(tmp_path, stats))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "JSON"),
        ("[]", "was not saved by pytest-benchmark"),
        ('{"benchmarks": {}}', "was not saved by pytest-benchmark"),
        ('{"benchmarks": []}', "holds no benchmarks"),
        ('{"benchmarks": [1]}', "$.benchmarks[0].fullname is missing"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "saved.json"
    path.write_text(content)
    with pytest.raises(GpuPerfError) as caught:
        read(path)
    assert message in str(caught.value)


def test_a_missing_file_names_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(GpuPerfError, match="--benchmark-json"):
        read(tmp_path / "missing.json")
