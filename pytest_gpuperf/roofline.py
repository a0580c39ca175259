"""Cases against the data sheet of their server: utilisation, distance to the best record, and what cannot be right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pytest_gpuperf import physics
from pytest_gpuperf.physics import Flag, Peaks, Row
from pytest_gpuperf.profiles import ServerProfile
from pytest_gpuperf.published import BEST, Record
from pytest_gpuperf.records import BaselineEntry, CaseResult, Cost, Finding, Measured, Physics, Status, Verdict

_PEAKS = {
    "fp32": "fp32_tflops",
    "tf32": "tf32_tflops",
    "fp16": "fp16_tflops",
    "mixed_float16": "fp16_tflops",
    "mixed_bfloat16": "bf16_tflops",
    "int8": "int8_tops",
}
_HINT = "compare with another tool; look for calls that fail unnoticed, or for results that nobody waits for"


def peaks(profile: ServerProfile, precision: str, *, gpus: int = 1) -> Peaks | None:
    """Return the ceilings of ``gpus`` cards of the server, ``None`` where its profile does not name them."""
    tflops, bandwidth_gbs = profile.peaks.get(_PEAKS.get(precision, "")), profile.peaks.get("bandwidth_gbs")
    if tflops is None or bandwidth_gbs is None:
        return None
    return Peaks(tflops=tflops, bandwidth_gbs=bandwidth_gbs, gpus=gpus)


def overrule(case: CaseResult, profile: ServerProfile) -> CaseResult:
    """Return the case, as ``config`` where its throughput is above what the GPU can do: that was not measured."""
    row = _of_case(case, profile, {})
    flags = [] if row is None else physics.check([row])[0]
    wrong = next((flag for flag in flags if flag.kind == "faster than the ceiling"), None)
    if wrong is None:
        return case
    finding = Finding(metric="throughput_sps", status=Status.CONFIG, measured=None, note=wrong.text)
    outcome = Verdict(
        status=Status.CONFIG,
        reason=wrong.text,
        findings=(finding, *case.verdict.findings),
        hints=(_HINT, *case.verdict.hints),
    )
    return replace(case, verdict=outcome)


def examine(
    cases: Sequence[CaseResult], profile: ServerProfile, approved: Mapping[str, BaselineEntry]
) -> list[CaseResult]:
    """Return the cases of a session with their physics; a profile without peaks has none.

    A case whose engine runs no ONNX graph takes the work per sample from another case of its model.

    Args:
        cases: of the whole session, since batch sizes are compared with one another.
        profile: whose peaks hold.
        approved: baseline entries; published ones are examined too, and their flags stand with the case.
    """
    if not profile.peaks:
        return list(cases)
    costs = {case.model: case.measured.info.cost for case in cases if case.measured and case.measured.info.cost}
    rows = {case.id: row for case in cases if (row := _of_case(case, profile, costs)) is not None}
    flags = dict(zip(rows, physics.check(list(rows.values())), strict=True))
    suspect = published(approved, profile, costs)
    return [
        replace(case, physics=_physics(case, profile, rows[case.id], flags[case.id], suspect.get(case.id, ())))
        if case.id in rows
        else case
        for case in cases
    ]


def published(
    entries: Mapping[str, BaselineEntry], profile: ServerProfile, costs: Mapping[str, Cost]
) -> dict[str, tuple[Flag, ...]]:
    """Return what is wrong with the published entries of a server, by case id.

    Args:
        entries: baseline entries, of which measured ones are passed over.
        profile: of the server.
        costs: per sample, by model; without one, neither ceiling nor batching is checked.
    """
    rows = {
        case_id: _of_entry(entry, profile, costs)
        for case_id, entry in entries.items()
        if entry.provenance.kind == "published" and "throughput_sps" in entry.metrics
    }
    return dict(zip(rows, physics.check(list(rows.values())), strict=True))


def best(profile: str, model: str, precision: str) -> tuple[str, Record] | None:
    """Return the best published record for the card and model, and its precision: this one, else the fastest."""
    found = {precise: record for (card, name, precise), record in BEST.items() if (card, name) == (profile, model)}
    if precision in found:
        return precision, found[precision]
    return max(found.items(), key=lambda item: item[1].throughput_sps, default=None)


def _row(series: str, measured: Measured, batch: int, profile: ServerProfile, cost: Cost | None) -> Row | None:
    """Return a measured case as a row. Sessions measure one GPU.

    Its latency counts only by the caller's clock: the device's leaves out what keeps short calls from overlapping.
    """
    throughput, latency = measured.metrics.get("throughput_sps"), measured.metrics.get("latency_p50_ms")
    if throughput is None:
        return None
    precision = "tf32" if measured.info.mode.get("tf32") == "on" and measured.info.precision == "fp32" else None
    return Row(
        series=series,
        batch=batch,
        throughput_sps=throughput.value,
        latency_ms=latency.value if latency is not None and not measured.info.has_device_clock else None,
        cost=cost,
        peaks=peaks(profile, precision or measured.info.precision),
        is_measured=True,
    )


def _of_case(case: CaseResult, profile: ServerProfile, costs: Mapping[str, Cost]) -> Row | None:
    if case.measured is None:
        return None
    lent = costs.get(case.model)
    cost = case.measured.info.cost or (Cost(flop=lent.flop) if lent else None)
    series = f"{case.model} {case.engine} {case.precision} {sorted(case.measured.info.mode.items())}"
    return _row(series, case.measured, case.batch, profile, cost)


def _of_entry(entry: BaselineEntry, profile: ServerProfile, costs: Mapping[str, Cost]) -> Row:
    conditions = entry.conditions
    model, precision = conditions.get("model", ""), conditions.get("precision", "")
    count = re.match(r"(\d+) x ", conditions.get("hardware.gpu", ""))
    latency = entry.metrics.get("latency_avg_ms")
    return Row(
        series=f"{model} {precision}",
        batch=int(conditions.get("batch", "1")),
        throughput_sps=entry.metrics["throughput_sps"].value,
        latency_ms=latency.value if latency else None,
        cost=costs.get(model),
        peaks=peaks(profile, precision, gpus=int(count.group(1)) if count else 1),
    )


def _physics(
    case: CaseResult, profile: ServerProfile, row: Row, flags: Sequence[Flag], suspect: Sequence[Flag]
) -> Physics:
    precision, record = best(profile.name, case.model, case.precision) or ("", None)
    found = Physics(
        in_flight=physics.in_flight(row.latency_ms, row.throughput_sps, row.batch) if row.latency_ms else None,
        best_pct=physics.best_share_pct(row.throughput_sps, record.throughput_sps) if record else None,
        best=f"{record.throughput_sps:,.0f} samples/s in {precision.upper()}, {record.source}" if record else "",
        flags=(*(flag.text for flag in flags), *(f"published number: {flag.text}" for flag in suspect)),
    )
    if row.cost is None or row.peaks is None:
        return found
    has_traffic = row.cost.weight_bytes > 0
    return replace(
        found,
        gflop=row.cost.flop / 1e9,
        ceiling_sps=physics.ceiling_sps(row.cost, row.peaks),
        mfu_pct=physics.mfu_pct(row.throughput_sps, row.cost, row.peaks),
        memory_bound_pct=physics.memory_bound_pct(row.cost, row.peaks, row.batch) if has_traffic else None,
    )
