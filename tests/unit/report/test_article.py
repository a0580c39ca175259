"""The page with the article's tables: from recorded results, with the faults of its numbers named."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gpuperf.records import BaselineEntry, BaselineMetric, Provenance
from pytest_gpuperf.report import article


def entry(batch: int, latency_ms: float, throughput_sps: float, kind: Any = "published") -> BaselineEntry:
    return BaselineEntry(
        metrics={
            "latency_avg_ms": BaselineMetric(value=latency_ms, unit="ms", higher="worse"),
            "throughput_sps": BaselineMetric(value=throughput_sps, unit="samples/s", higher="better"),
        },
        conditions={"model": "resnet50", "engine": "tensorflow", "precision": "fp32", "batch": str(batch)},
        provenance=Provenance(kind=kind, date="2026-01-13", reason="illustrative"),
    )


def split(host: float, busy: float, kernel: float, copies: float = 0.0) -> dict[str, Any]:
    row = {"model": "resnet50", "kind": "tensorflow", "precision": "fp32", "mode": {"xla": "off"}, "batch": 8}
    return {
        **row,
        "host_ms": host,
        "busy_ms": busy,
        "kernel_ms": kernel,
        "upload_ms": copies,
        "fetch_ms": 0.0,
        "kernels": 603.0,
    }


def test_published_rows_stand_with_what_is_wrong_with_them() -> None:
    page = article.render({"a40": [entry(8, 40.0, 25.0), entry(1, 12.8, 78.0), entry(1, 1.0, 9.9, "measured")]}, [], [])
    assert "| a40 | resnet50 | tensorflow fp32 | 1 | 12.8 | 78 |  |" in page
    assert "25 is not samples/s: batch 8 in 40 ms is 200.0 samples/s" in page
    assert "9.9" not in page


def test_measured_rows_come_from_results_and_keep_their_flags() -> None:
    case = {
        "model": "resnet50", "engine": "tftrt", "precision": "fp16", "batch": 8,
        "metrics": {"latency_p50_ms": {"value": 5.151}, "throughput_sps": {"value": 1553.4}},
        "physics": {"flags": ["no batching"]},
    }  # fmt: skip
    page = article.render({}, [case, {**case, "batch": 9, "metrics": {}}], [])
    assert "| resnet50 | tftrt | fp16 | 8 | 5.151 | 1,553 | no batching |" in page
    assert "| 9 |" not in page


def test_a_page_without_results_says_so() -> None:
    assert article.render({}, [], []).count("*nothing was recorded*") == 3


@pytest.mark.parametrize(
    ("row", "by"),
    [
        (split(12.0, 2.6, 2.5), "host"),
        (split(37.0, 31.6, 26.9, 4.7), "kernels"),
        (split(10.0, 9.0, 3.0, 6.0), "transfers"),
    ],
)
def test_the_split_names_what_binds(row: dict[str, Any], by: str) -> None:
    assert article.bound_by(row) == by
    assert f"{row['host_ms'] - row['busy_ms']:.2f} | 603 | {by} |" in article.render({}, [], [row])
