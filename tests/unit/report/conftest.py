"""Cases to report on, and golden files to compare whole outputs with.

``GPUPERF_UPDATE_GOLDEN=1 pytest tests/unit/report`` rewrites the golden files; the tests that rewrote one fail, so
that an update never passes for a check. Look at the diff, then run again without the variable.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gpuperf.records import (
    AccuracyDelta,
    Artefact,
    CaseResult,
    Comparison,
    Differences,
    EngineInfo,
    Finding,
    Fingerprint,
    Layer,
    Measured,
    Metric,
    Physics,
    Status,
    Steady,
    TensorSpec,
    Timeline,
    Trend,
    Verdict,
)

GOLDEN = Path(__file__).parents[2] / "golden"
UPDATE = "GPUPERF_UPDATE_GOLDEN"


def make_measured(batch: int = 8, p50_ms: float = 0.547, **changes: object) -> Measured:
    info = EngineInfo(
        kind="tensorrt",
        device="gpu:0",
        provider="TensorRT",
        precision="fp16",
        artefact=Artefact(kind="engine", path="/cache/engine", sha256="ab" * 32, recipe={"graph": "cd" * 32}),
        inputs=(TensorSpec(name="images", dtype="float32", shape=(-1, 224, 224, 3)),),
        outputs=(TensorSpec(name="logits", dtype="float32", shape=(-1, 1000)),),
        versions={"tensorrt": "8.6.0"},
        mode={"streams": "1"},
        has_device_clock=True,
    )
    metrics = {
        "latency_p50_ms": Metric(value=p50_ms, unit="ms", lower=0.98 * p50_ms, upper=1.02 * p50_ms, n=900),
        "latency_p99_ms": Metric(value=1.3 * p50_ms, unit="ms", lower=1.2 * p50_ms, upper=1.5 * p50_ms, n=900),
        "throughput_sps": Metric(value=1e3 * batch / p50_ms, unit="sps", n=40, higher="better"),
    }
    measured = Measured(
        info=info,
        steady=Steady(is_steady=True, warmup_runs=40, warmup_s=0.4, drift_pct=0.3),
        metrics=metrics,
        accuracy=AccuracyDelta(
            samples=64, top1_agreement=0.984375, rmse=3.1e-3, rel_rmse=2.9e-3, cosine=0.99999, sqnr_db=50.7, classes=118
        ),
        comparison=Comparison(
            ratio=0.125, lower=0.1225, upper=0.1275, pairs=24, unit="block pair", mde_pct=2.1, seconds=11.0
        ),
        conditions={"precision": "fp16", "batch": str(batch), "driver": "580.95"},
        distribution=tuple(round(p50_ms * (0.9 + 0.02 * rank + 0.5 * (rank == 10)), 4) for rank in range(11)),
        timeline=Timeline(
            seconds=12.0,
            gauges={
                "gpu_utilisation_pct": (80.0, 93.0, None, 95.0, 94.0),
                "power_w": (250.0, 310.5, 312.0, 311.0, None),
            },
        ),
        telemetry={"gpu_utilisation_pct": 93.0, "memory_used_mib": 2048.0, "power_w": 310.5, "sm_clock_mhz": None},
    )
    return dataclasses.replace(measured, **changes)


def make_case(
    name: str = "test_resnet50_fp16[8]",
    status: Status = Status.PASSED,
    reason: str = "within tolerance of the baseline",
    batch: int = 8,
    p50_ms: float = 0.547,
    **changes: object,
) -> CaseResult:
    case = CaseResult(
        id=f"suites/vision/test_resnet50.py::{name}",
        suite="vision",
        model="resnet50",
        engine="tensorrt",
        precision="fp16",
        batch=batch,
        verdict=Verdict(status=status, reason=reason),
        measured=make_measured(batch, p50_ms),
        seconds=11.4,
        reference="tensorflow fp32",
        path="suites/vision/test_resnet50.py",
        line=17,
    )
    return dataclasses.replace(case, **changes)


def make_physics() -> Physics:
    return Physics(
        gflop=8.178,
        ceiling_sps=120_934.0,
        mfu_pct=1.95,
        memory_bound_pct=61.0,
        in_flight=1.0,
        best_pct=2.45,
        best="96,029 samples/s in INT8, MLPerf Inference v4.1",
        flags=("published number: 26.8 is not samples/s",),
    )


def make_trend() -> Trend:
    return Trend(
        metric="latency_p50_ms",
        points=(("2026-11-01", 0.40), ("2026-11-08", 0.41), ("2026-11-15", 0.425)),
        change_points=(2,),
        drift="latency_p50_ms is 6.2 % worse than on 2026-11-01, in 2 steps",
    )


def make_regressed() -> CaseResult:
    measured = make_measured()
    finding = Finding(
        metric="latency_p50_ms",
        status=Status.REGRESSED,
        measured=measured.metrics["latency_p50_ms"],
        baseline=0.481,
        limit=3.0,
        change_pct=13.7,
        lower_pct=12.9,
        upper_pct=14.6,
        reference="live pair",
    )
    verdict = Verdict(
        status=Status.REGRESSED,
        reason="latency p50 rose by 13.7 %",
        findings=(finding,),
        hints=("pytest --gpu-profile=h200 --gpu-update=changed -k 'test_resnet50_fp16[8]'",),
    )
    return make_case(
        verdict=verdict,
        layers=(
            Layer(name="conv1/fused_bn", measured_ms=0.142, reference_ms=0.084, difference_ms=0.058),
            Layer(name="reformat", measured_ms=0.011, reference_ms=None, difference_ms=0.011),
        ),
        differences=Differences(
            mismatched={}, widening={"driver": ("575.51", "580.95")}, recorded={"host": ("a", "b")}
        ),
    )


def make_cases() -> list[CaseResult]:
    """A whole session: three good batches, one slower, one inaccurate, one new, one that never ran."""
    curve = [make_case(f"test_resnet50_fp16[{b}]", batch=b, p50_ms=0.4 + 0.025 * b) for b in (1, 16, 32)]
    curve[0] = dataclasses.replace(curve[0], physics=make_physics(), trend=make_trend())
    poisoned = AccuracyDelta(samples=64, top1_agreement=None, nonfinite=("logits: 1 NaN, first at [3, 17]",))
    inaccurate = make_case(
        "test_resnet50_int8[8]",
        Status.INACCURATE,
        "outputs contain NaN",
        precision="int8",
        measured=make_measured(accuracy=poisoned, comparison=None),
    )
    new = make_case("test_resnet50_fp16[64]", Status.NEW, "no approved baseline", batch=64, p50_ms=2.0)
    lost = make_case(
        "test_bert[1]", Status.INFRA, "the worker died: SIGSEGV", model="bert_base", batch=1, measured=None
    )
    return [*curve, make_regressed(), inaccurate, new, lost]


@pytest.fixture
def case() -> Callable[..., CaseResult]:
    return make_case


@pytest.fixture
def measured() -> Callable[..., Measured]:
    return make_measured


@pytest.fixture
def regressed() -> CaseResult:
    return make_regressed()


@pytest.fixture
def cases() -> list[CaseResult]:
    return make_cases()


@pytest.fixture
def fingerprint() -> Fingerprint:
    return Fingerprint(machine="0123abcd", hardware={"gpu": "NVIDIA H200 x 1"}, software={"driver": "580.95"})


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get(UPDATE):
            path.write_text(text, encoding="utf-8")
            pytest.fail(f"golden file {name} rewritten: look at its diff, then run without {UPDATE}")
        assert path.is_file(), f"no golden file {path}: run with {UPDATE}=1"
        assert text == path.read_text(encoding="utf-8")

    return check
