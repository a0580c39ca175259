"""The article's tables 5.2 and 5.3 beside recorded results, with what is wrong with a number, and where time goes.

The article's rows are the published baseline entries; ours come from ``results.json`` documents; the split comes from
:mod:`pytest_gpuperf.engines.tf.trace`, as ``benchmarks/tensorflow_h200.py`` records it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_gpuperf import physics
from pytest_gpuperf.physics import Row

if TYPE_CHECKING:
    from pytest_gpuperf.records import BaselineEntry

#: A call whose GPU works less than this share of it waits for the host.
HOST_BOUND_PCT = 50.0
_NOTHING = "nothing was recorded"


def render(
    published: Mapping[str, Sequence[BaselineEntry]],
    cases: Iterable[Mapping[str, Any]],
    splits: Iterable[Mapping[str, Any]],
) -> str:
    """Return the page in Markdown.

    Args:
        published: server profile → entries of its baselines; measured ones are passed over.
        cases: of ``results.json`` documents, as dictionaries; without figures they are passed over.
        splits: rows that say where a call's time goes.
    """
    sections = [
        "# The article's tables beside ours",
        "Generated from recorded results; not edited by hand.",
        "## As published",
        _table(
            ("server", "model", "engine", "batch", "ms", "samples/s", "what is wrong with it"), _published(published)
        ),
        "## As measured",
        _table(
            (
                *("model", "row", "batch", "clock", "transfers", "median ms", "samples/s"),
                *("GPU in use", "relative RMSE", "top-1 agreement", "what is wrong with it"),
            ),
            _measured(cases),
        ),
        "Rows of different clocks or transfers are not each other's ratio. A median without enough calls is left out.",
        "## Where the time of a call goes",
        _table(
            ("model", "row", "batch", "call ms", "kernels ms", "copies ms", "host ms", "kernels", "bound by"),
            _splits(splits),
        ),
        "A call under the profiler is longer than one without. *host ms* is the part of a call in which the GPU rests.",
    ]
    return "\n\n".join(sections) + "\n"


def _published(entries: Mapping[str, Sequence[BaselineEntry]]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for server, found in sorted(entries.items()):
        for entry in found:
            throughput, latency = entry.metrics.get("throughput_sps"), entry.metrics.get("latency_avg_ms")
            if entry.provenance.kind != "published" or throughput is None:
                continue
            what = entry.conditions
            row = Row(
                series=server,
                batch=int(what["batch"]),
                throughput_sps=throughput.value,
                latency_ms=None if latency is None else latency.value,
            )
            wrong = "; ".join(flag.text for flag in physics.check([row])[0])
            shown = "" if latency is None else f"{latency.value:g}"
            engine = f"{what['engine']} {what['precision']}"
            lines.append((server, what["model"], engine, what["batch"], shown, f"{throughput.value:,.0f}", wrong))
    return lines


def _measured(cases: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    for case in cases:
        metrics = case.get("metrics") or {}
        if "throughput_sps" not in metrics:
            continue
        info, accuracy = case.get("info") or {}, case.get("accuracy") or {}
        mode = info.get("mode") or {}
        latency = (metrics.get("latency_p50_ms") or {}).get("value")
        use = (case.get("telemetry") or {}).get("gpu_utilisation_pct")
        rmse, agreement = accuracy.get("rel_rmse"), accuracy.get("top1_agreement")
        lines.append(
            (
                case["model"],
                _row(case["engine"], case["precision"], mode),
                str(case["batch"]),
                "device" if info.get("has_device_clock") else "host",
                mode.get("transfers", ""),
                "" if latency is None else f"{latency:.4g}",
                f"{metrics['throughput_sps']['value']:,.0f}",
                "" if use is None else f"{use:.0f} %",
                "" if rmse is None else f"{rmse:.1e}",
                "" if agreement is None else f"{100 * agreement:.1f} %",
                "; ".join((case.get("physics") or {}).get("flags", ())),
            )
        )
    return lines


def _row(engine: str, precision: str, mode: Mapping[str, str]) -> str:
    return f"{engine} {precision}" + (" XLA" if mode.get("xla") == "on" else "")


def _splits(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            row["model"],
            _row(row["kind"], row["precision"], row["mode"]),
            str(row["batch"]),
            f"{row['host_ms']:.2f}",
            f"{row['kernel_ms']:.2f}",
            f"{row['upload_ms'] + row['fetch_ms']:.2f}",
            f"{row['host_ms'] - row['busy_ms']:.2f}",
            f"{row['kernels']:.0f}",
            bound_by(row),
        )
        for row in rows
    ]


def bound_by(row: Mapping[str, Any]) -> str:
    """Return what most of a call is spent on: the ``host``, ``transfers`` or ``kernels``."""
    if 100 * row["busy_ms"] < HOST_BOUND_PCT * row["host_ms"]:
        return "host"
    return "transfers" if row["upload_ms"] + row["fetch_ms"] > row["kernel_ms"] else "kernels"


def _table(names: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    if not lines:
        return f"*{_NOTHING}*"
    rows = [names, ("---",) * len(names), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
