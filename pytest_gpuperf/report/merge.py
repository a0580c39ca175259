"""Several sessions on one page: servers side by side, or two runs of one server compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuperf import figures
from pytest_gpuperf.records import CaseResult, Metric
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.failure import name
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.units import change

FACE_VALUE = (
    "Numbers of two runs at face value: what lies within the machine's own spread is no change. "
    "A verdict needs a live comparison: pytest --gpu-profile=…"
)
BY_SERVER = ("server", "batch", "engine", "precision", "p50 ms", "samples/s", "over FP32", "MFU")
OVER_FP32 = (
    "over FP32: latency of TensorFlow in FP32, or else of the engine itself, over this one; same server and batch."
)


@dataclass(frozen=True)
class Table:
    """A table of plain text, for the formats to draw."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def side_by_side(results: Sequence[Results]) -> list[Table]:
    """Return one table per model: a row for each engine, precision and batch, two columns for each server."""
    servers = list(dict.fromkeys(result.profile for result in results))
    found: dict[str, dict[tuple[str, str, int], dict[str, CaseResult]]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        for case in result.cases:
            found[case.model][case.engine, case.precision, case.batch][result.profile] = case
    columns = (
        "engine",
        "precision",
        "batch",
        *(f"{server} {what}" for server in servers for what in ("p50 ms", "samples/s")),
    )
    return [
        Table(model, columns, tuple(_row(key, rows[key], servers) for key in sorted(rows)))
        for model, rows in sorted(found.items())
    ]


def by_server(results: Sequence[Results]) -> list[Table]:
    """Return one table per model with a row per server and case, as papers print it: servers of one batch together."""
    models = sorted({case.model for result in results for case in result.cases})
    return [Table(f"{model}, server by server", BY_SERVER, _server_rows(model, results), OVER_FP32) for model in models]


def compare(before: Results, after: Results) -> Table:
    """Return what changed between two runs, the largest change for the worse first."""
    old, new = ({case.id: case for case in result.cases} for result in (before, after))
    rows = []
    for case_id in sorted(old.keys() | new.keys()):
        if case_id in old and case_id in new:
            rows += _changes(old[case_id], new[case_id])
        else:
            gone = case_id in old
            status = (old if gone else new)[case_id].verdict.status.value
            rows.append((float("inf"), (case_id, "only before" if gone else "only after", "", "", "", status)))
    rows.sort(key=lambda row: -row[0])
    title = f"{before.profile} {before.started or 'before'} → {after.profile} {after.started or 'after'}"
    columns = ("case", "number", "before", "after", "change", "verdict")
    return Table(title, columns, tuple(row for _, row in rows), FACE_VALUE)


def _server_rows(model: str, results: Sequence[Results]) -> tuple[tuple[str, ...], ...]:
    rows = []
    for place, result in enumerate(results):
        gpu = result.fingerprint.hardware.get("gpu") if result.fingerprint else None
        server = f"{result.profile} ({gpu})" if gpu else result.profile
        cases = [case for case in result.cases if case.model == model]
        for case in cases:
            numbers = (cells.latency(case, "p50"), cells.throughput(case), _over_fp32(case, cases))
            row = (server, str(case.batch), case.engine, case.precision, *numbers, cells.utilisation(case))
            rows.append(((case.batch, case.precision != "fp32", case.engine, case.precision, place), row))
    return tuple(row for _, row in sorted(rows))


def _over_fp32(case: CaseResult, cases: Sequence[CaseResult]) -> str:
    """Write how many times as fast as FP32 a case is: TensorFlow's where that was measured, else the engine's own."""
    own = _p50_ms(case)
    for engine in ("tensorflow", case.engine):
        for other in cases:
            plain = _p50_ms(other)
            if (other.engine, other.precision, other.batch) == (engine, "fp32", case.batch) and own and plain:
                return cells.number(plain / own, "x")
    return cells.NONE


def _p50_ms(case: CaseResult) -> float | None:
    metric = cells.metrics(case).get(cells.LATENCY.format("p50"))
    return metric.value if metric else None


def _row(key: tuple[str, str, int], cases: dict[str, CaseResult], servers: Sequence[str]) -> tuple[str, ...]:
    engine, precision, batch = key
    numbers = []
    for server in servers:
        case = cases.get(server)
        numbers += [cells.latency(case, "p50"), cells.throughput(case)] if case else [cells.NONE, cells.NONE]
    return (engine, precision, str(batch), *numbers)


def _changes(old: CaseResult, new: CaseResult) -> list[tuple[float, tuple[str, ...]]]:
    before, after = (figures.of(case.measured) if case.measured else {} for case in (old, new))
    was, now = old.verdict.status.value, new.verdict.status.value
    verdict = now if was == now else f"{was} → {now}"
    return [
        (
            _worse_pct(before[metric], after[metric]),
            (
                new.id,
                name(metric),
                cells.quantity(before[metric]),
                cells.quantity(after[metric]),
                _change(before[metric], after[metric]),
                verdict,
            ),
        )
        for metric in before
        if metric in after
    ]


def _worse_pct(before: Metric, after: Metric) -> float:
    if before.value == 0:
        return 0.0
    pct = 100 * (after.value / before.value - 1)
    return pct if after.higher == "worse" else -pct


def _change(before: Metric, after: Metric) -> str:
    return cells.NONE if before.value == 0 else change(100 * (after.value / before.value - 1))
