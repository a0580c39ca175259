"""Prometheus text, which is also OpenMetrics text and so GitLab's metrics report.

Names end in their base unit (seconds, bytes, ratio …), as both formats want. Telemetry carries the names of
OpenTelemetry's hardware conventions (https://opentelemetry.io/docs/specs/semconv/hardware/gpu/) where it has one.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from pytest_gpuperf.records import CaseResult
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable

# Suffix of our names → suffix of theirs, and what a value is multiplied with.
BASE_UNITS = {
    "_ms": ("_seconds", 1e-3),
    "_mib": ("_bytes", float(2**20)),
    "_pct": ("_ratio", 1e-2),
    "_sps": ("_samples_per_second", 1.0),
    "_mhz": ("_hertz", 1e6),
    "_w": ("_watts", 1.0),
    "_j": ("_joules", 1.0),
    "_c": ("_celsius", 1.0),
    "_s": ("_seconds", 1.0),
}
# Telemetry that OpenTelemetry names: hw.gpu.utilization, hw.gpu.memory.usage, …
HARDWARE = {
    "gpu_utilisation_pct": "hw_gpu_utilization_ratio",
    "memory_used_mib": "hw_gpu_memory_usage_bytes",
    "power_w": "hw_power_watts",
    "energy_j": "hw_energy_joules",
    "temperature_max_c": "hw_temperature_celsius",
}
_PERCENTILE = re.compile(r"^(?P<what>\w*latency)_p(?P<rank>\d+)_ms$")

Sample = tuple[str, dict[str, str], float]


def document(results: Sequence[Results]) -> str:
    """Return all numbers of all cases as gauges, families together, in the order of their names.

    A number that occurs twice (two runs on one server profile) keeps its last value: a series may have one only.
    """
    families: dict[str, dict[str, float]] = defaultdict(dict)
    for result in results:
        for case in result.cases:
            for name, labels, value in _samples(result.profile, case):
                families[name][_labels(labels)] = value
    lines = []
    for name in sorted(families):
        lines.append(f"# TYPE {name} gauge")
        lines += [f"{name}{labels} {value:.12g}" for labels, value in families[name].items()]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _samples(profile: str, case: CaseResult) -> Iterator[Sample]:
    labels = {
        "profile": profile,
        "case": case.id,
        "model": case.model,
        "engine": case.engine,
        "precision": case.precision,
        "batch": str(case.batch),
    }
    yield "gpuperf_verdict", labels | {"verdict": case.verdict.status.value}, 1.0
    yield "gpuperf_case_duration_seconds", labels, case.seconds
    for name, metric in cells.figures_of(case).items():
        if math.isfinite(metric.value):
            yield _figure(name, labels, metric.value)
    if case.measured is None:
        return
    gpu = labels | {"hw_type": "gpu", "hw_id": case.measured.info.device}
    for name, value in case.measured.telemetry.items():
        if value is not None and math.isfinite(value):
            theirs, scaled = _base(name, value)
            yield (HARDWARE[name], gpu, scaled) if name in HARDWARE else (theirs, labels, scaled)


def _figure(name: str, labels: dict[str, str], value: float) -> Sample:
    if match := _PERCENTILE.match(name):
        quantile = f"0.{match['rank']}".rstrip("0")
        return f"gpuperf_{match['what']}_seconds", labels | {"quantile": quantile}, value * 1e-3
    theirs, scaled = _base(name, value)
    return theirs, labels, scaled


def _base(name: str, value: float) -> tuple[str, float]:
    """Return our name as theirs, with its base unit, and the value in that unit."""
    name = "gpuperf_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)
    for suffix, (theirs, factor) in BASE_UNITS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix) + theirs, value * factor
    return name, value


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escape(printable(value))}"' for name, value in labels.items()) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
