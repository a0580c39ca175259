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


def measured(**more: Any) -> dict[str, Any]:
    case: dict[str, Any] = {"model": "resnet50", "engine": "tftrt", "precision": "fp16", "batch": 8}
    case["metrics"] = {"latency_p50_ms": {"value": 5.151}, "throughput_sps": {"value": 1553.4}}
    return {**case, **more}


def test_measured_rows_come_from_results_and_keep_their_flags() -> None:
    case = measured(
        physics={"flags": ["no batching"]},
        info={"has_device_clock": False, "mode": {"transfers": "in, out"}},
        telemetry={"gpu_utilisation_pct": 48.2},
        accuracy={"rel_rmse": 0.00031, "top1_agreement": 0.995},
    )
    page = article.render({}, [case, measured(batch=9, metrics={})], [])
    row = "| resnet50 | tftrt fp16 | 8 | host | in, out | 5.151 | 1,553 | 48 % | 3.1e-04 | 99.5 % | no batching |"
    assert row in page
    assert "| 9 |" not in page


def test_a_measured_row_says_what_made_it() -> None:
    on_device = measured(precision="fp32", info={"has_device_clock": True, "mode": {"xla": "on", "transfers": "none"}})
    page = article.render({}, [on_device], [])
    assert "| resnet50 | tftrt fp32 XLA | 8 | device | none | 5.151 |" in page


def test_a_median_that_its_calls_do_not_support_stays_empty() -> None:
    page = article.render({}, [measured(metrics={"throughput_sps": {"value": 1172.0}})], [])
    assert "| resnet50 | tftrt fp16 | 8 | host |  |  | 1,172 |  |  |  |  |" in page


def test_a_page_without_results_says_so() -> None:
    assert article.render({}, [], []).count("*nothing was recorded*") == 6


def brings(engine: str, ms: float, sps: float, batch: int = 8, **more: Any) -> dict[str, Any]:
    info = {"has_device_clock": False, "mode": {"transfers": "in, out"}}
    figures = {"latency_p50_ms": {"value": ms}, "throughput_sps": {"value": sps}}
    precision = "fp32" if engine == "tensorflow" else "fp16"
    return measured(
        **{"engine": engine, "precision": precision, "batch": batch, "metrics": figures, "info": info, **more}
    )


def native(host_ms: float, batch: int = 8) -> dict[str, Any]:
    row = {"model": "resnet50", "kind": "tensorrt", "precision": "fp16", "mode": {}, "batch": batch}
    return {**row, "host_ms": host_ms, "busy_ms": 0.9 * host_ms, "kernel_ms": 0.6 * host_ms, "copies_ms": 0.3 * host_ms}


def test_gains_are_over_tensorflow_fp32_at_the_same_batch() -> None:
    cases = [
        brings("tensorflow", 10.0, 1000.0),
        brings("tftrt", 4.0, 3500.0),
        brings("tftrt", 1.0, 900.0, batch=1),  # without a TensorFlow row of its own
        brings("tensorrt", 0.5, 16000.0, info={"has_device_clock": True, "mode": {"transfers": "none"}}),
    ]
    page = article.render({}, cases, [native(0.8)])
    by_call, by_rate = page.split("How many times the samples/s")
    assert "| model | row | b8 |\n| --- | --- | --- |\n| resnet50 | tensorrt fp16 | 12.5 |" in by_call
    assert "| resnet50 | tftrt fp16 | 2.5 |" in by_call
    assert "| resnet50 | tftrt fp16 | 3.5 |" in by_rate
    assert "| resnet50 | tensorrt fp16 | " not in by_rate.split("## Where")[0]
    assert (
        "The article puts TF-TRT at 2 to 3 times TensorFlow FP32. "
        "By calls, of 1 rows 1 are within that, 0 above and 0 below. "
        "By samples/s, of 1 rows 0 are within that, 1 above and 0 below."
    ) in page


def test_a_native_split_has_its_copies_together_and_no_kernels() -> None:
    page = article.render({}, [], [native(1.0)])
    assert "| resnet50 | tensorrt fp16 | 8 | 1.00 | 0.60 | 0.30 | 0.10 |  | kernels |" in page


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
