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

    #: Model and row → batch → figure.
    _Figures = dict[tuple[str, str], dict[int, float]]

#: A call whose GPU works less than this share of it waits for the host.
HOST_BOUND_PCT = 50.0
#: What the article says TF-TRT gains over TensorFlow FP32.
CLAIMED = (2.0, 3.0)
_BASE = "tensorflow fp32"
_NOTHING = "nothing was recorded"
_ON_SPLITS = (
    "A call under TensorFlow's profiler is longer than one without. Native rows are timed without one; their copies "
    "are the GPU's time with them less the time without. *host ms* is the part of a call in which the GPU rests."
)


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
    cases, splits = list(cases), list(splits)
    calls, rates = _calls(cases, splits), _rates(cases)
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
        "## What each step gains",
        f"How many times faster a call is than {_BASE}'s, uploads and fetches included, by the host's clock:",
        _gains(calls, is_time=True),
        "How many times the samples/s, calls in flight on both sides, of the rows that bring inputs and outputs too:",
        _gains(rates, is_time=False),
        _claim(calls, rates),
        "## Where the time of a call goes",
        _table(
            ("model", "row", "batch", "call ms", "kernels ms", "copies ms", "host ms", "kernels", "bound by"),
            _splits(splits),
        ),
        _ON_SPLITS,
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


def _calls(cases: Sequence[Mapping[str, Any]], splits: Sequence[Mapping[str, Any]]) -> _Figures:
    """Return the milliseconds of calls that bring their inputs and outputs: model, row → batch → ms."""
    found: _Figures = {}
    for case in cases:
        latency = (case.get("metrics") or {}).get("latency_p50_ms")
        if latency is not None and _brings(case):
            found.setdefault(_key(case), {})[case["batch"]] = latency["value"]
    for split in splits:
        if "copies_ms" in split:  # a native engine's case keeps its data on the GPU, its split has both
            row = split["model"], _row(split["kind"], split["precision"], split["mode"])
            found.setdefault(row, {})[split["batch"]] = split["host_ms"]
    return found


def _rates(cases: Sequence[Mapping[str, Any]]) -> _Figures:
    """Return the samples/s of rows whose calls bring their inputs and outputs."""
    found: _Figures = {}
    for case in cases:
        rate = (case.get("metrics") or {}).get("throughput_sps")
        if rate is not None and _brings(case):
            found.setdefault(_key(case), {})[case["batch"]] = rate["value"]
    return found


def _brings(case: Mapping[str, Any]) -> bool:
    info = case.get("info") or {}
    return not info.get("has_device_clock") and (info.get("mode") or {}).get("transfers") == "in, out"


def _key(case: Mapping[str, Any]) -> tuple[str, str]:
    return case["model"], _row(case["engine"], case["precision"], (case.get("info") or {}).get("mode") or {})


def _ratios(figures: _Figures, *, is_time: bool) -> _Figures:
    """Return how many times better than TensorFlow FP32 each figure is, where that has the same batch."""
    ratios: _Figures = {}
    for (model, row), by_batch in figures.items():
        base = figures.get((model, _BASE), {})
        if row != _BASE and by_batch.keys() & base.keys():
            ratios[model, row] = {
                batch: base[batch] / value if is_time else value / base[batch]
                for batch, value in sorted(by_batch.items())
                if batch in base
            }
    return ratios


def _gains(figures: _Figures, *, is_time: bool) -> str:
    ratios = _ratios(figures, is_time=is_time)
    batches = sorted({batch for by_batch in ratios.values() for batch in by_batch})
    lines = [
        (model, row, *(f"{by_batch[batch]:.1f}" if batch in by_batch else "" for batch in batches))
        for (model, row), by_batch in sorted(ratios.items())
    ]
    return _table(("model", "row", *(f"b{batch}" for batch in batches)), lines)


def _claim(calls: _Figures, rates: _Figures) -> str:
    """Return what became of the article's gain: how many TF-TRT rows lie within it, above and below."""
    least, most = CLAIMED
    said = [f"The article puts TF-TRT at {least:g} to {most:g} times TensorFlow FP32."]
    for what, figures, is_time in (("calls", calls, True), ("samples/s", rates, False)):
        found = [
            ratio
            for (_, row), by_batch in _ratios(figures, is_time=is_time).items()
            if row.startswith("tftrt")
            for ratio in by_batch.values()
        ]
        if found:
            above, below = sum(ratio > most for ratio in found), sum(ratio < least for ratio in found)
            within = len(found) - above - below
            said.append(f"By {what}, of {len(found)} rows {within} are within that, {above} above and {below} below.")
    return " ".join(said) if len(said) > 1 else f"{said[0]} *{_NOTHING}*"


def _splits(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            row["model"],
            _row(row["kind"], row["precision"], row["mode"]),
            str(row["batch"]),
            f"{row['host_ms']:.2f}",
            f"{row['kernel_ms']:.2f}",
            f"{_copies_ms(row):.2f}",
            f"{row['host_ms'] - row['busy_ms']:.2f}",
            f"{row['kernels']:.0f}" if "kernels" in row else "",
            bound_by(row),
        )
        for row in rows
    ]


def _copies_ms(row: Mapping[str, Any]) -> float:
    """Return the time of copies: a native row has their sum only."""
    copies_ms: float = row["copies_ms"] if "copies_ms" in row else row["upload_ms"] + row["fetch_ms"]
    return copies_ms


def bound_by(row: Mapping[str, Any]) -> str:
    """Return what most of a call is spent on: the ``host``, ``transfers`` or ``kernels``."""
    if 100 * row["busy_ms"] < HOST_BOUND_PCT * row["host_ms"]:
        return "host"
    return "transfers" if _copies_ms(row) > row["kernel_ms"] else "kernels"


def _table(names: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    if not lines:
        return f"*{_NOTHING}*"
    rows = [names, ("---",) * len(names), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
