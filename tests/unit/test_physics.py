"""Hand-computed ceilings, the words of every flag, and the published records, which must raise none."""

from __future__ import annotations

import pytest

from pytest_gpuperf import physics
from pytest_gpuperf.convert.cost import Op, total
from pytest_gpuperf.physics import Flag, Peaks, Row
from pytest_gpuperf.published import BEST
from pytest_gpuperf.records import Cost

RESNET50 = Cost(flop=8.178e9, weight_bytes=51e6, activation_bytes=22.2e6)  # FP16
BASE_128 = Cost(flop=22.35e9, weight_bytes=170e6)


def bert(tokens: int, *, hidden: int, layers: int) -> Cost:
    """Multiply-adds per layer: four projections and two feed-forward products, and two attention products."""
    ops = [Op(output=tokens * hidden, depth=12 * hidden), Op(output=tokens * tokens, depth=2 * hidden)]
    return total(ops * layers)


def flags(*rows: Row) -> list[set[str]]:
    return [{flag.kind for flag in found} for found in physics.check(rows)]


# --- formulas ---


@pytest.mark.parametrize(
    ("tflops", "flop", "expected"),
    [
        (37.4, 8.178e9, 4573), (149.7, 8.178e9, 18305), (299.3, 8.178e9, 36598), (19.5, 8.178e9, 2384),
        (156, 8.178e9, 19076), (624, 8.178e9, 76302), (989, 8.178e9, 120934), (149.7, 22.35e9, 6698),
        (312, 22.35e9, 13960), (989, 22.35e9, 44251),
    ],
)  # fmt: skip
def test_ceilings_are_those_computed_by_hand(tflops, flop, expected):
    peaks = Peaks(tflops=tflops, bandwidth_gbs=1)
    assert physics.ceiling_sps(Cost(flop=flop), peaks) == pytest.approx(expected, abs=1)
    assert physics.mfu_pct(expected / 2, Cost(flop=flop), peaks) == pytest.approx(50, abs=0.1)


def test_two_gpus_have_twice_the_ceiling():
    one, two = Peaks(tflops=100, bandwidth_gbs=1), Peaks(tflops=100, bandwidth_gbs=1, gpus=2)
    assert physics.ceiling_sps(RESNET50, two) == 2 * physics.ceiling_sps(RESNET50, one)


def test_weights_of_resnet50_take_an_a40_73_microseconds():
    assert physics.weight_read_ms(RESNET50, Peaks(tflops=149.7, bandwidth_gbs=696)) == pytest.approx(0.0733, abs=1e-4)


def test_memory_share_falls_with_the_batch():
    peaks = Peaks(tflops=149.7, bandwidth_gbs=696)
    # batch 1: (51 + 44.4) MB / 696 GB/s = 137.1 us of memory, 8.178 G / 149.7 T = 54.6 us of arithmetic
    assert physics.memory_bound_pct(RESNET50, peaks, 1) == pytest.approx(71.5, abs=0.1)
    assert physics.memory_bound_pct(RESNET50, peaks, 64) == pytest.approx(54.3, abs=0.1)


def test_calls_in_flight_follow_from_latency_and_throughput():
    assert physics.in_flight(latency_ms=40, throughput_sps=200, batch=8) == pytest.approx(1.0)


def test_share_of_the_best_record_is_per_gpu():
    assert physics.best_share_pct(39_775.2, BEST["a40", "resnet50", "int8"].throughput_sps, gpus=2) == pytest.approx(
        100
    )


# --- flags and their words ---


def test_faster_than_the_hardware_is_a_wrong_measurement():
    h200 = Peaks(tflops=989, bandwidth_gbs=4800)
    ((flag,),) = physics.check([Row(series="s", batch=64, throughput_sps=125_000, cost=RESNET50, peaks=h200)])
    assert flag == Flag(
        kind="faster than the ceiling",
        text="the measurement is wrong: 125,000 samples/s, but 1 x 989 TFLOP/s cannot do more than 120,934 at "
        "8.18 GFLOP per sample",
    )
    assert flags(Row(series="s", batch=64, throughput_sps=39_178, cost=RESNET50, peaks=h200)) == [set()]


def test_batches_per_second_are_recognised():
    ((flag,),) = physics.check([Row(series="s", batch=4, throughput_sps=42.6, latency_ms=23.5)])
    assert flag.text == (
        "42.6 is not samples/s: batch 4 in 23.5 ms is 170.2 samples/s with a single call in flight; it is batches/s"
    )


def test_a_number_that_fits_no_unit_says_so():
    ((flag,),) = physics.check([Row(series="s", batch=4, throughput_sps=26.8, latency_ms=42.3)])
    assert flag.text.endswith("94.6 samples/s with a single call in flight; nor is it the 23.6 batches/s")


def test_batching_that_brings_nothing_on_an_idle_gpu_is_named():
    peaks = Peaks(tflops=37.4, bandwidth_gbs=696)
    rows = [Row(series="s", batch=b, throughput_sps=t, cost=RESNET50, peaks=peaks) for b, t in ((1, 78), (8, 81))]
    (one, (flag,)) = physics.check(rows)
    assert one == ()
    assert flag.text == (
        "batch 8 brings +4 % over batch 1 at 1.8 % of the peak: samples run one after the other, as on a CPU or with a "
        "call per sample"
    )


def test_batching_that_brings_nothing_at_the_peak_is_what_saturation_is():
    peaks = Peaks(tflops=37.4, bandwidth_gbs=696)
    rows = [
        Row(series="s", batch=b, throughput_sps=t, cost=RESNET50, peaks=peaks) for b, t in ((64, 2700), (128, 2750))
    ]
    assert flags(*rows) == [set(), set()]


def test_one_stream_is_not_a_measurement_of_two_gpus():
    peaks = Peaks(tflops=149.7, bandwidth_gbs=696, gpus=2)
    ((flag,),) = physics.check([Row(series="s", batch=8, throughput_sps=189, latency_ms=42.1, peaks=peaks)])
    assert flag.text == "2 GPUs were not measured: the throughput is that of one stream on one of them"
    assert flags(Row(series="s", batch=8, throughput_sps=378, latency_ms=42.1, peaks=peaks)) == [set()]


# --- published records: no false flag ---

#: Dense INT8 TOP/s and GB/s; H100 PCIe and L40 from NVIDIA's data sheets.
INT8 = {
    "A40": (299.3, 696), "A100": (624, 2039), "L40": (362, 864), "L40S": (733, 864), "H100-PCIe": (1513, 2000),
    "H100-SXM": (1979, 3350), "H200": (1979, 4800),
}  # fmt: skip
#: (card, GPUs, ResNet-50 offline, its one-stream p90 ms, BERT-large offline, its one-stream p90 ms), per GPU.
MLPERF = [
    ("A40", 2, 18_739, 0.458, 1_777, 2.149), ("A40", 2, 19_888, 0.493, None, None),
    ("A100", 1, 39_814, 0.479, 3_238, 1.560), ("A100", 1, 42_121, 0.464, 3_545, 1.545),
    ("L40", 3, 30_764, None, 2_110, None), ("L40S", 4, 45_153, 0.332, 3_476, 1.118),
    ("H100-PCIe", 1, 56_635, 0.421, 5_878, 1.352), ("H100-SXM", 1, 91_826, None, 9_369, None),
    ("H200", 8, 94_620, None, 9_164, None), ("H200", 8, 96_029, None, 9_224, None),
]  # fmt: skip
#: MLPerf's sequences are padded to 384 only on paper: submissions pack them. Every mean up to 256 clears all records.
TRUE_TOKENS = 256
#: (TFLOP/s, cost, [(batch, ms, samples/s)]) of single-GPU tables.
TABLES = [
    (312, BASE_128, [(1, 0.62, 1613), (4, 0.93, 4301), (8, 1.31, 6107), (32, 3.85, 8312), (128, 15.15, 8449)]),
    (624, BASE_128, [(1, 0.54, 1852), (8, 0.95, 8421), (32, 2.23, 14350), (128, 8.02, 15960)]),
    (363, BASE_128, [(1, 0.48, 2083), (4, 0.77, 5195), (8, 1.25, 6400), (32, 3.93, 8142)]),
    (733, BASE_128, [(1, 0.34, 2941), (8, 0.67, 11940), (32, 1.81, 17680), (64, 3.42, 18713)]),
    (156, BASE_128, [(1, 3.44, 291), (4, 3.85, 1039), (8, 5.37, 1491)]),
    (312, BASE_128, [(8, 4.48, 1786)]),
    (156, RESNET50, [(1, 5.26, 191), (8, 8.31, 964), (256, 133.9, 1912)]),
    (312, RESNET50, [(8, 5.40, 1503), (64, 17.93, 3570)]),
    (312, bert(384, hidden=1024, layers=24), [(1, 3.6, 278), (8, 15.4, 519), (16, 29.3, 544)]),
]  # fmt: skip


def records(tokens: int) -> list[Row]:
    rows = []
    large = bert(tokens, hidden=1024, layers=24)
    for number, (card, gpus, vision_sps, vision_ms, language_sps, language_ms) in enumerate(MLPERF):
        peaks = Peaks(tflops=INT8[card][0], bandwidth_gbs=INT8[card][1], gpus=gpus)
        pairs = ((RESNET50, vision_sps, vision_ms), (large, language_sps, language_ms))
        rows += [
            Row(series=f"{number}", batch=1, throughput_sps=sps * gpus, latency_ms=ms, cost=cost, peaks=peaks)
            for cost, sps, ms in pairs
            if sps is not None
        ]
    for number, (tflops, cost, lines) in enumerate(TABLES):
        peaks = Peaks(tflops=tflops, bandwidth_gbs=1000)
        rows += [
            Row(series=f"t{number}", batch=batch, throughput_sps=sps, latency_ms=ms, cost=cost, peaks=peaks)
            for batch, ms, sps in lines
        ]
    return rows


def test_published_records_raise_no_flag():
    rows = records(TRUE_TOKENS)
    assert len(rows) >= 30
    assert flags(*rows) == [set()] * len(rows)


def test_padded_tokens_would_accuse_packed_records():
    accused = [row for row, kinds in zip(records(384), flags(*records(384)), strict=True) if kinds]
    assert {row.throughput_sps for row in accused} >= {2 * 1_777, 8 * 9_164}


# --- cost ---


def test_bert_by_hand():
    assert bert(128, hidden=768, layers=12).flop == pytest.approx(22.35e9, rel=1e-3)
    assert bert(384, hidden=1024, layers=24).flop == pytest.approx(246.4e9, rel=1e-3)
