"""pytest-benchmark: our timings in its session, and its saved numbers as pending baselines.

Out: a case's latency distribution becomes one of its benchmarks, so that its table, JSON, histogram and comparison
show it. In: a saved file's medians become pending entries, which a person reviews like any other.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pytest_gpuperf import baselines
from pytest_gpuperf.baselines import Pending, Result, scan
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import CaseResult, Metric, Provenance, Status

MAX_MS = 3_600_000.0
"""A call of more than an hour is a wrong unit, not a latency."""

MAX_BYTES = 256 * 2**20
"""``--benchmark-save-data`` keeps every round, so its files grow; more than this is not one of them."""

METRIC = "latency_p50_ms"

OUTPUTS = ("json", "save", "autosave", "compare", "compare_fail", "histogram", "only", "enable")
"""Options of pytest-benchmark that say that somebody looks at it: ``--benchmark-json`` and so on."""


def is_looked_at(options: Any, items: Iterable[Any]) -> bool:
    """Return whether this session is one of pytest-benchmark's too, so that our own table is not printed twice.

    It comes with us, so being installed means nothing; what counts is one of its outputs, or a test that uses it.
    """
    asked = any(getattr(options, f"benchmark_{name}", None) for name in OUTPUTS)
    return asked or any("benchmark" in getattr(item, "fixturenames", ()) for item in items)


def export(session: Any, result: CaseResult) -> None:
    """Add a measured case to a ``pytest_benchmark.session.BenchmarkSession``, unless that is switched off.

    What it calls rounds are the case's latencies at equally spaced ranks: the median and the quartiles are those of
    all calls, the extremes are the first and the last of them. ``extra_info`` says so.
    """
    if session is None or session.disabled or session.skip or result.measured is None:
        return
    latencies_ms = result.measured.distribution
    if not latencies_ms or not all(0 < value < math.inf for value in latencies_ms):
        return
    from pytest_benchmark import stats

    name = result.id.rpartition("::")[2]
    case = SimpleNamespace(
        name=name,
        fullname=result.id,
        group=result.model,
        param=name.partition("[")[2].rpartition("]")[0] or None,
        params={"engine": result.engine, "precision": result.precision, "batch": result.batch},
        extra_info={
            "verdict": result.verdict.status.value,
            "rounds_are": f"{len(latencies_ms)} equally spaced quantiles of the calls, by pytest-gpuperf",
        },
        cprofile_stats=None,
        has_error=False,
    )
    untyped: Any = stats
    benchmark = untyped.Metadata(case, iterations=1, options={})
    for value in latencies_ms:
        benchmark.update(value / 1000)
    session.benchmarks.append(benchmark)


def read(path: Path, *, profile: str, suite: str) -> Pending:
    """Return the benchmarks of a file that pytest-benchmark saved, as pending baseline entries.

    One run of one process is all that such a file holds: its absolute numbers cannot gate, and what it says of its
    conditions is too little for a comparison. The entries are a record to start from.

    Raises:
        ConfigError: the file is missing, too large, no such file, or holds a number that no call can take.
        BaselineError: it is not strict JSON, for example because of a NaN, or a case id cannot be stored.
    """
    file = _parse(path)
    version, date = str(file.get("version", "of an unknown version")), _date(file.get("datetime"))
    commit = file.get("commit_info")
    provenance = Provenance(
        kind="measured",
        date=date,
        reason="",
        commit=str(commit.get("id") or "") if isinstance(commit, dict) else "",
        source=f"imported from pytest-benchmark {version}: {path.name}",
    )
    entries, results = {}, {}
    for number, benchmark in enumerate(file["benchmarks"]):
        at = f"{path}: $.benchmarks[{number}]"
        case_id, median_ms = _case_id(benchmark, at), _median_ms(benchmark, at)
        if case_id in entries:
            raise ConfigError(f"{at}.fullname names a case twice", got=repr(case_id))
        figures = {METRIC: Metric(value=median_ms, unit="ms")}
        conditions = {"imported_from": f"pytest-benchmark {version}", **_machine(file.get("machine_info"))}
        entries[case_id] = baselines.summarise(figures, {}, conditions=conditions, provenance=provenance)
        results[case_id] = Result(verdict=Status.NEW, reason=provenance.source, metrics=figures)
    return Pending(profile=profile, suite=suite, entries=entries, results=results)


def _parse(path: Path) -> dict[str, Any]:
    import msgspec

    hint = "give a file of --benchmark-json, --benchmark-save or --benchmark-autosave"
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ConfigError(f"{path} is too large", got=f"{size} bytes", expected=f"at most {MAX_BYTES}")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", got=error.strerror or str(error), hint=hint) from error
    try:
        file = msgspec.json.decode(scan.decode(str(path), content))
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is not JSON", got=str(error), hint=hint) from error
    if not isinstance(file, dict) or not isinstance(file.get("benchmarks"), list):
        raise ConfigError(
            f"{path} was not saved by pytest-benchmark", expected="an object with `benchmarks`", hint=hint
        )
    if not file["benchmarks"]:
        raise ConfigError(f"{path} holds no benchmarks", hint=hint)
    return file


def _case_id(benchmark: Any, at: str) -> str:
    fullname = benchmark.get("fullname") if isinstance(benchmark, dict) else None
    if not isinstance(fullname, str):
        raise ConfigError(f"{at}.fullname is missing", expected="pytest's node id")
    return fullname


def _median_ms(benchmark: dict[str, Any], at: str) -> float:
    """Return the median call in milliseconds: of the rounds where they were saved, which must agree with it."""
    stats = benchmark.get("stats")
    if not isinstance(stats, dict):
        raise ConfigError(f"{at}.stats is missing", expected="an object")
    median_s = _seconds(stats.get("median"), f"{at}.stats.median")
    data = stats.get("data")
    if isinstance(data, list) and data:
        rounds = [_seconds(value, f"{at}.stats.data[{index}]") for index, value in enumerate(data)]
        if not math.isclose(median_s, statistics.median(rounds), rel_tol=1e-6):
            raise ConfigError(
                f"{at}.stats.median is not the median of its data: it was edited by hand",
                got=f"{median_s:g}",
                expected=f"{statistics.median(rounds):g}",
            )
    return 1000 * median_s


def _seconds(value: Any, at: str) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value <= MAX_MS / 1000:
        raise ConfigError(
            f"{at}: no call takes that long", got=repr(value), expected=f"above 0 and at most {MAX_MS / 1000:g} seconds"
        )
    return float(value)


def _machine(info: Any) -> dict[str, str]:
    """Return what the file says of its machine, as conditions."""
    if not isinstance(info, dict):
        return {}
    cpu = info.get("cpu")
    found = {"host": cpu.get("brand_raw") if isinstance(cpu, dict) else None, "python": info.get("python_version")}
    return {name: str(value) for name, value in found.items() if value}


def _date(text: Any) -> str:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).date().isoformat()
    except ValueError:
        return datetime.now(timezone.utc).date().isoformat()
