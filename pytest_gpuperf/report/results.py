"""``results.json``: everything a session found, for other programs and for reports made later.

The schema is docs/schema/results.json. Fields are only ever added within one ``schema_version``; readers ignore fields
that they do not know. JSON has no NaN and no infinity, so both are ``null`` there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from pytest_gpuperf import __version__, files, schemas
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.records import (
    AccuracyDelta,
    CaseResult,
    Comparison,
    Differences,
    EngineInfo,
    Finding,
    Fingerprint,
    Layer,
    Live,
    Measured,
    Metric,
    Physics,
    Status,
    Steady,
    Timeline,
    Trend,
    Verdict,
)

SCHEMA_VERSION = 1
# Fields that CaseResult and Measured share with the file's flat case, name for name.
OF_CASE = (
    "id",
    "suite",
    "model",
    "engine",
    "precision",
    "batch",
    "seconds",
    "reference",
    "differences",
    "judged_against",
    "why_not_better",
    "path",
    "line",
    "physics",
    "trend",
    "layers",
)
OF_MEASURED = (
    "accuracy",
    "comparison",
    "conditions",
    "telemetry",
    "steady",
    "info",
    "notes",
    "samples",
    "distribution",
    "timeline",
    "live",
)
# What ``null`` means where a number must stand: an open interval, an effect that no number of pairs would have shown.
OPEN = {
    "comparison": {"ratio": math.nan, "lower": math.nan, "upper": math.inf, "mde_pct": math.inf},
    "steady": {"drift_pct": math.inf},
}


@dataclass(frozen=True, kw_only=True)
class Results:
    """One session, read back.

    Attributes:
        started: ISO 8601 with offset, empty if unknown.
        is_complete: ``False`` when the run was interrupted.
        command: what was run, to reproduce it.
    """

    profile: str
    fingerprint: Fingerprint | None
    cases: tuple[CaseResult, ...]
    started: str = ""
    seconds: float = 0.0
    is_complete: bool = True
    command: str = ""
    commit: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case as it stands in the file: what readers want first is on top, the rest follows."""

    id: str
    model: str
    engine: str
    precision: str
    batch: int
    verdict: Status
    reason: str
    metrics: dict[str, Metric]
    accuracy: AccuracyDelta | None
    suite: str = ""
    seconds: float = 0.0
    reference: str = "none"
    comparison: Comparison | None = None
    findings: tuple[Finding, ...] = ()
    hints: tuple[str, ...] = ()
    conditions: dict[str, str] = field(default_factory=dict)
    differences: Differences = field(default_factory=Differences)
    telemetry: dict[str, float | None] = field(default_factory=dict)
    steady: Steady | None = None
    info: EngineInfo | None = None
    notes: tuple[str, ...] = ()
    samples: dict[str, tuple[float, ...]] = field(default_factory=dict)
    judged_against: str = "none"
    why_not_better: str = ""
    path: str = ""
    line: int = 0
    physics: Physics | None = None
    trend: Trend | None = None
    layers: tuple[Layer, ...] = ()
    distribution: tuple[float, ...] = ()
    timeline: Timeline | None = None
    live: Live | None = None


@dataclass(frozen=True, kw_only=True)
class File:
    """The whole file; arguments of :func:`document` explain the fields."""

    schema_version: int
    profile: str
    fingerprint: Fingerprint | None
    cases: tuple[Case, ...]
    tool: str = ""
    started: str = ""
    seconds: float = 0.0
    is_complete: bool = True
    command: str = ""
    commit: str = ""


def document(
    profile: str,
    fingerprint: Fingerprint | None,
    cases: Sequence[CaseResult],
    *,
    started: str = "",
    seconds: float = 0.0,
    is_complete: bool = True,
    command: str = "",
    commit: str = "",
) -> dict[str, Any]:
    """Return the whole session as plain JSON values; arguments as for :class:`Results`."""
    file = File(
        schema_version=SCHEMA_VERSION,
        profile=profile,
        fingerprint=fingerprint,
        cases=tuple(_flatten(case) for case in cases),
        tool=f"pytest-gpuperf {__version__}",
        started=started,
        seconds=seconds,
        is_complete=is_complete,
        command=command,
        commit=commit,
    )
    plain: dict[str, Any] = _finite(msgspec.to_builtins(file))
    return plain


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a :func:`document` atomically: readers see the old file or the new one, never half of one."""
    files.write_bytes(path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def read(path: Path) -> Results:
    """Read a results file.

    Raises:
        ConfigError: the file cannot be read, is not JSON, is of another schema version, or a field has the wrong type;
            the message names the file and the place in it.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
        _check_version(path, content)
        file = msgspec.convert(_restored(content), File)
    except OSError as error:
        raise ConfigError(f"cannot read results file {path}", got=str(error.strerror or error)) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        hint = "make it anew: pytest --gpu-profile=… writes results.json at the end of the run"
        raise ConfigError(f"invalid results file {path}", got=str(error), hint=hint) from error
    common = {name: getattr(file, name) for name in Results.__dataclass_fields__ if name != "cases"}
    return Results(**common, cases=tuple(_unflatten(case) for case in file.cases))


def schema() -> dict[str, Any]:
    """Return the file's JSON Schema, the one that docs/schema/results.json publishes."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schemas.of(File)


def _check_version(path: Path, content: Any) -> None:
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} is not a results file that this version reads",
            got=f"schema_version {version!r}",
            expected=f"schema_version {SCHEMA_VERSION}",
            hint="use the pytest-gpuperf that wrote it, or a newer one",
        )


def _flatten(case: CaseResult) -> Case:
    measured = case.measured
    metrics = measured.metrics if measured else {}
    return Case(
        **{name: getattr(case, name) for name in OF_CASE},
        **({name: getattr(measured, name) for name in OF_MEASURED} if measured else {"accuracy": None}),
        metrics={name: metric for name, metric in metrics.items() if math.isfinite(metric.value)},
        verdict=case.verdict.status,
        reason=case.verdict.reason,
        hints=case.verdict.hints,
        findings=case.verdict.findings,
    )


def _unflatten(case: Case) -> CaseResult:
    measured = None
    if case.info is not None and case.steady is not None:
        measured = Measured(metrics=case.metrics, **{name: getattr(case, name) for name in OF_MEASURED})
    return CaseResult(
        **{name: getattr(case, name) for name in OF_CASE},
        verdict=Verdict(status=case.verdict, reason=case.reason, findings=case.findings, hints=case.hints),
        measured=measured,
    )


def _finite(value: Any) -> Any:
    """Replace NaN and infinity by ``None``, all the way down."""
    if isinstance(value, dict):
        # A finding may rest on a metric that has no number: then it has no metric.
        if isinstance(value.get("measured"), dict) and not math.isfinite(value["measured"]["value"]):
            value = {**value, "measured": None}
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _restored(content: Any) -> Any:
    """Undo :func:`_finite` where the records want a number."""
    cases = content.get("cases")
    for case in cases if isinstance(cases, list) else ():
        for name, meanings in OPEN.items():
            part = case.get(name) if isinstance(case, dict) else None
            if isinstance(part, dict):
                part.update({key: meaning for key, meaning in meanings.items() if part.get(key, 0) is None})
    return content
