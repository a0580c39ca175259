"""A session's cases against the peaks of its server, and the published rows as they are shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_gpuperf import baselines, profiles, roofline
from pytest_gpuperf.records import (
    Artefact,
    CaseResult,
    Cost,
    EngineInfo,
    Finding,
    Measured,
    Metric,
    Status,
    Steady,
    Verdict,
)

ROOT = Path(__file__).parents[2]
COSTS = {"resnet50": Cost(flop=8.178e9, weight_bytes=51e6, activation_bytes=22.2e6), "bert_base": Cost(flop=22.35e9)}
A40 = profiles.load("a40")
PASSED = Verdict(status=Status.PASSED, reason="fine", hints=("a hint",))


def measured(sps, ms=None, *, precision="fp16", cost=COSTS["resnet50"], has_device_clock=False, **mode) -> Measured:
    metrics = {"throughput_sps": Metric(value=sps, unit="sps", higher="better")}
    if ms is not None:
        metrics["latency_p50_ms"] = Metric(value=ms, unit="ms")
    return Measured(
        info=EngineInfo(
            kind="tensorrt",
            device="gpu:0",
            provider="TensorRT",
            precision=precision,
            artefact=Artefact(kind="engine", path="", sha256=""),
            inputs=(),
            outputs=(),
            mode=mode,
            has_device_clock=has_device_clock,
            cost=cost,
        ),
        steady=Steady(is_steady=True, warmup_runs=1, warmup_s=0.1, drift_pct=0.0),
        metrics=metrics,
        accuracy=None,
        comparison=None,
        conditions={},
    )


def case(batch, sps, ms=None, *, model="resnet50", engine="tensorrt", precision="fp16", **options) -> CaseResult:
    return CaseResult(
        id=f"suites/vision/test_{model}.py::test_{engine}_{precision}[{batch}]",
        suite=model,
        model=model,
        engine=engine,
        precision=precision,
        batch=batch,
        verdict=PASSED,
        measured=measured(sps, ms, precision=precision, **options),
    )


def test_each_case_has_its_utilisation_and_its_share_of_the_best_record():
    (found,) = roofline.examine([case(8, 9153.0, 0.874)], A40, {})
    # 149.7 TFLOP/s over 8.178 GFLOP are 18,305 samples/s; there is no FP16 record of an A40, the INT8 one is named
    assert found.physics.ceiling_sps == pytest.approx(18305, abs=1)
    assert found.physics.mfu_pct == pytest.approx(50.0, abs=0.01)
    assert found.physics.gflop == pytest.approx(8.178)
    assert found.physics.in_flight == pytest.approx(1.0, abs=1e-3)
    # (51 / 8 + 44.4) MB at 696 GB/s are 73.0 us, beside 54.6 us of arithmetic
    assert found.physics.memory_bound_pct == pytest.approx(57.2, abs=0.1)
    assert found.physics.best_pct == pytest.approx(46.02, abs=0.01)
    assert found.physics.best == "19,888 samples/s in INT8, MLPerf Inference v3.0, NE5260M5 with 2 A40, through Triton"
    assert found.physics.flags == ()


def test_the_record_of_the_same_precision_comes_first():
    assert roofline.best("a100-80gb", "bert_base", "fp16")[1].throughput_sps == 8_449
    assert roofline.best("a100-80gb", "bert_base", "fp32")[1].throughput_sps == 15_960
    assert roofline.best("rtx6000-ada", "resnet50", "int8") is None


def test_a_server_without_peaks_has_no_physics():
    cases = [case(8, 9153.0)]
    assert roofline.examine(cases, profiles.load("cpu"), {}) == cases
    assert roofline.overrule(case(8, 1e9), profiles.load("cpu")).verdict is PASSED


def test_work_per_sample_is_lent_within_a_model():
    cases = [
        case(8, 1000.0, engine="tensorflow", precision="fp32", cost=None),
        case(8, 9000.0),
        case(1, 50.0, model="other", cost=None),
    ]
    lent, _, other = roofline.examine(cases, A40, {})
    assert lent.physics.mfu_pct == pytest.approx(100 * 1000 * 8.178e9 / 37.4e12)
    assert lent.physics.memory_bound_pct is None
    assert (other.physics.mfu_pct, other.physics.best_pct) == (None, None)


def test_a_case_without_numbers_has_no_physics():
    lost = replace(case(8, 1.0), measured=None)
    assert roofline.examine([lost], A40, {}) == [lost]


@pytest.mark.parametrize(("mode", "expected"), [({}, 37.4), ({"tf32": "off"}, 37.4), ({"tf32": "on"}, 74.8)])
def test_the_peak_is_that_of_the_arithmetic_that_is_used(mode, expected):
    (found,) = roofline.examine([case(8, 100.0, precision="fp32", **mode)], A40, {})
    assert found.physics.ceiling_sps == pytest.approx(expected * 1e12 / 8.178e9)


# --- flags of measured cases ---


def test_faster_than_the_ceiling_is_a_wrong_measurement():
    outcome = roofline.overrule(case(64, 122_660.0), profiles.load("h200")).verdict
    text = (
        "the measurement is wrong: 125,000 samples/s, but 1 x 989 TFLOP/s cannot do more than 120,934 at "
        "8.18 GFLOP per sample"
    )
    assert outcome is PASSED  # within what boost clocks add
    outcome = roofline.overrule(case(64, 125_000.0), profiles.load("h200")).verdict
    assert (outcome.status, outcome.reason) == (Status.CONFIG, text)
    assert outcome.findings == (Finding(metric="throughput_sps", status=Status.CONFIG, measured=None, note=text),)
    assert outcome.hints == (
        "compare with another tool; look for calls that fail unnoticed, or for results that nobody waits for",
        "a hint",
    )


def test_batches_per_second_and_no_batching_are_flagged():
    cases = [case(1, 78.0, 12.8), case(8, 81.0, 98.4), case(64, 12.7, 78.5)]
    one, eight, many = (found.physics.flags for found in roofline.examine(cases, A40, {}))
    assert one == ()
    assert [flag.partition(" at ")[0] for flag in eight] == ["batch 8 brings +4 % over batch 1"]
    assert many[0].startswith("12.7 is not samples/s: batch 64 in 78.5 ms")


@pytest.mark.parametrize(("batch", "sps"), [(1, 400.0), (2, 500.0), (8, 4000.0)])
def test_a_busy_machine_accuses_nobody(batch, sps):
    """One call takes 2 ms, and the throughput run was disturbed."""
    (found,) = roofline.examine([case(batch, sps, 2.0)], A40, {})
    assert not [flag for flag in found.physics.flags if "is not samples/s" in flag]


def test_other_options_are_another_series():
    cases = [case(1, 80.0, graph="on"), case(8, 81.0, graph="off")]
    assert [found.physics.flags for found in roofline.examine(cases, A40, {})] == [(), ()]


def test_a_device_s_clock_accuses_nobody():
    """A short call whose launch takes longer than its kernels: batches do not overlap, and no unit is wrong."""
    (found,) = roofline.examine([case(8, 80_000.0, 0.02, cost=None, has_device_clock=True)], A40, {})
    assert (found.physics.in_flight, found.physics.flags) == (None, ())


# --- the article's rows, as shipped in baselines/ ---


def article(profile):
    entries = {}
    for path in sorted((ROOT / "baselines" / profile).glob("*.json")):
        entries |= baselines.read(path).entries
    return {case_id: entry for case_id, entry in entries.items() if entry.provenance.kind == "published"}


def test_the_article_s_rows_are_flagged_exactly():
    found = {
        (profile, case_id.rpartition("/")[2]): {flag.kind for flag in flags}
        for profile in ("a40", "a100-80gb", "rtx6000-ada")
        for case_id, flags in roofline.published(article(profile), profiles.load(profile), COSTS).items()
    }
    assert len(found) == 11
    assert all("GPUs not measured" in kinds for kinds in found.values())
    assert {key for key, kinds in found.items() if "unit error" in kinds} == {
        ("a40", "test_bert_base.py::test_tensorrt_fp16[4]"),
        ("a100-80gb", "test_bert_base.py::test_tensorrt_fp16[4]"),
    }
    assert {key for key, kinds in found.items() if "no batching" in kinds} == {
        ("a40", "test_resnet50.py::test_tensorflow_fp32[8]")
    }
    assert not any("faster than the ceiling" in kinds for kinds in found.values())


def test_flags_of_a_published_baseline_stand_with_its_case():
    approved = article("a40")
    this = case(4, 3000.0, 1.3, model="bert_base", cost=COSTS["bert_base"])
    this = replace(this, id="suites/language/test_bert_base.py::test_tensorrt_fp16[4]")
    (found,) = roofline.examine([this], A40, approved)
    assert [flag.partition(": ")[2].partition(":")[0] for flag in found.physics.flags] == [
        "26.8 is not samples/s",
        "2 GPUs were not measured",
    ]
