"""Numbers against the hardware's limits and against each other: what cannot be was not measured.

A GPU that does F operations per second cannot serve more than F / (operations per sample) samples per second, and the
latency, throughput and batch of one program bind each other by Little's law. A number that breaks either is a bug in
the measurement. Everything here takes plain numbers and decides nothing about baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_gpuperf.records import Cost

FlagKind = Literal["faster than the ceiling", "unit error", "no batching", "GPUs not measured"]

#: A single stream keeps one call in flight; means and clocks leave this much room around it.
ONE_CALL = 0.1
#: Batches/s are less than samples/s by this factor at least before a disturbance cannot explain it.
TELLING_BATCH = 4
#: More samples per second that a larger batch must bring as long as the GPU is nearly idle.
MIN_BATCH_GAIN = 1.10
#: Below this share of the peak a GPU is nearly idle; above, a larger batch has little left to gain.
IDLE_PCT = 10.0
#: Clocks boost over the figure that a data sheet's peak was computed with.
BOOST = 1.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Ceilings of one GPU, dense.

    Attributes:
        tflops: TFLOP/s (TOP/s) in the precision at hand.
        bandwidth_gbs: of its memory, GB/s.
        gpus: how many of them the numbers are of.
    """

    tflops: float
    bandwidth_gbs: float
    gpus: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of results, ours or published.

    Attributes:
        series: what the row shares with the same program at other batch sizes.
        latency_ms: of one call with one in flight, ``None`` where not given.
        throughput_sps: samples per second of all ``peaks.gpus`` together.
        cost: of one sample, with its true number of tokens; ``None`` if unknown.
        is_measured: here, latency and throughput in separate runs, which a busy machine pulls apart.
    """

    series: str
    batch: int
    throughput_sps: float
    latency_ms: float | None = None
    cost: Cost | None = None
    peaks: Peaks | None = None
    is_measured: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """Something that cannot be right. Only ``faster than the ceiling`` is a ``config`` error by itself."""

    kind: FlagKind
    text: str


def ceiling_sps(cost: Cost, peaks: Peaks) -> float:
    """Return the samples per second that the arithmetic alone allows, a hard limit.

    Memory is no such limit: fused layers keep activations in caches (an L40S beats its no-reuse DRAM figure for INT8
    ResNet-50 by 16 %), see :func:`memory_bound_pct` instead.
    """
    return peaks.gpus * peaks.tflops * 1e12 / cost.flop


def mfu_pct(throughput_sps: float, cost: Cost, peaks: Peaks) -> float:
    """Return the model FLOP utilisation: the share of the peak that useful arithmetic takes, in percent."""
    return 100 * throughput_sps / ceiling_sps(cost, peaks)


def memory_bound_pct(cost: Cost, peaks: Peaks, batch: int) -> float:
    """Return the memory's share of the time if arithmetic and traffic took turns at their peaks, in percent.

    Weights are read once per call, activations written and read once; fusion makes it less.
    """
    compute_s = cost.flop / (peaks.tflops * 1e12)
    memory_s = (cost.weight_bytes / batch + 2 * cost.activation_bytes) / (peaks.bandwidth_gbs * 1e9)
    return 100 * memory_s / (memory_s + compute_s)


def weight_read_ms(cost: Cost, peaks: Peaks) -> float:
    """Return how long one GPU takes to read the weights once: no call of a batch of one is faster by much."""
    return cost.weight_bytes / (peaks.bandwidth_gbs * 1e6)


def in_flight(latency_ms: float, throughput_sps: float, batch: int) -> float:
    """Return the mean number of calls in flight by Little's law: latency times calls per second."""
    return latency_ms / 1e3 * throughput_sps / batch


def check(rows: Sequence[Row]) -> tuple[tuple[Flag, ...], ...]:
    """Return what is wrong with each row, in the rows' order.

    Args:
        rows: of one or more series; smaller batches of a row's series tell whether batching works.
    """
    return tuple(
        tuple(flag for flag in (_ceiling(row), _unit(row), _batching(row, rows), _gpus(row)) if flag) for row in rows
    )


def best_share_pct(throughput_sps: float, best_sps: float, gpus: int = 1) -> float:
    """Return the throughput per GPU as a share of the best published record's, in percent."""
    return 100 * throughput_sps / gpus / best_sps


def _ceiling(row: Row) -> Flag | None:
    if row.cost is None or row.peaks is None:
        return None
    ceiling = ceiling_sps(row.cost, row.peaks)
    if row.throughput_sps <= ceiling * BOOST:
        return None
    text = (
        f"the measurement is wrong: {row.throughput_sps:,.0f} samples/s, but {row.peaks.gpus} x {row.peaks.tflops:g} "
        f"TFLOP/s cannot do more than {ceiling:,.0f} at {row.cost.flop / 1e9:.2f} GFLOP per sample"
    )
    return Flag(kind="faster than the ceiling", text=text)


def _unit(row: Row) -> Flag | None:
    if row.latency_ms is None:
        return None
    calls = in_flight(row.latency_ms, row.throughput_sps, row.batch)
    if calls >= 1 - ONE_CALL:
        return None
    one_stream = row.batch / row.latency_ms * 1e3
    per_call = row.throughput_sps * row.latency_ms / 1e3
    is_per_call = abs(per_call - 1) <= ONE_CALL
    if row.is_measured and not (is_per_call and row.batch >= TELLING_BATCH):
        return None
    guess = "it is batches/s" if is_per_call else f"nor is it the {1e3 / row.latency_ms:.1f} batches/s"
    text = (
        f"{row.throughput_sps:g} is not samples/s: batch {row.batch} in {row.latency_ms:g} ms is {one_stream:.1f} "
        f"samples/s with a single call in flight; {guess}"
    )
    return Flag(kind="unit error", text=text)


def _batching(row: Row, rows: Sequence[Row]) -> Flag | None:
    smaller = [other for other in rows if other.series == row.series and other.batch < row.batch]
    if not smaller or row.cost is None or row.peaks is None:
        return None
    base = max(smaller, key=lambda other: other.batch)
    gain = row.throughput_sps / base.throughput_sps
    used = mfu_pct(row.throughput_sps, row.cost, row.peaks)
    if gain >= MIN_BATCH_GAIN or used >= IDLE_PCT:
        return None
    text = (
        f"batch {row.batch} brings {100 * (gain - 1):+.0f} % over batch {base.batch} at {used:.1f} % of the peak: "
        "samples run one after the other, as on a CPU or with a call per sample"
    )
    return Flag(kind="no batching", text=text)


def _gpus(row: Row) -> Flag | None:
    if row.latency_ms is None or row.peaks is None or row.peaks.gpus == 1:
        return None
    if in_flight(row.latency_ms, row.throughput_sps, row.batch) > 1 + ONE_CALL:
        return None
    text = f"{row.peaks.gpus} GPUs were not measured: the throughput is that of one stream on one of them"
    return Flag(kind="GPUs not measured", text=text)
