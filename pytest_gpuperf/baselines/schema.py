"""What stands in a baseline file, strictly: text ↔ records. The JSON Schema is docs/schema/baseline.json.

A pending file is a baseline file whose cases also carry what the run found (``result``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from pytest_gpuperf import schemas
from pytest_gpuperf.baselines import ids, samples, scan
from pytest_gpuperf.baselines.layout import render
from pytest_gpuperf.baselines.migrations import SCHEMA_VERSION, migrate
from pytest_gpuperf.errors import BaselineError
from pytest_gpuperf.records import BaselineEntry, BaselineMetric, Metric, Provenance, Status
from pytest_gpuperf.records.sample import Higher

_POSITIVE = ("_ms", "_sps", "_ratio", "_mib")

Text = Annotated[str, Meta(max_length=4096)]
Name = Annotated[str, Meta(min_length=1, max_length=ids.MAX_ID)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One baseline file: the approved entries of one suite on one server profile, by case id."""

    profile: str
    suite: str
    entries: dict[str, BaselineEntry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the run found that led to a pending entry, for the person who reviews it.

    ``renamed_from`` is the entry whose test is gone and that the case seems to have been.
    """

    verdict: Status
    reason: str
    metrics: dict[str, Metric] = field(default_factory=dict)
    renamed_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """One pending file: entries that wait for a person, with the results behind them."""

    profile: str
    suite: str
    entries: dict[str, BaselineEntry] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)


class MetricFile(Struct, forbid_unknown_fields=True, frozen=True):
    """One metric of a case: one line of the file."""

    value: float
    unit: Name
    higher: Higher
    n_processes: Annotated[int, Meta(ge=1)] = 1
    spread_pct: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    samples: list[float] | UnsetType = UNSET


class ProvenanceFile(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """How the numbers of a case came about: one line of the file."""

    kind: Literal["measured", "published"]
    date: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}")]
    reason: Text = ""
    commit: Text = ""
    approver: Text = ""
    source: Text = ""


class CaseFile(Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """One case of the file; ``result`` stands in pending files only."""

    metrics: dict[Name, MetricFile]
    conditions: dict[Name, Text]
    provenance: ProvenanceFile
    result: Result | UnsetType = UNSET


class SuiteFile(Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    schema_version: int
    profile: Name
    suite: Name
    cases: dict[Name, CaseFile]


def decode(name: str, content: bytes) -> Suite:
    """Read a baseline file's bytes; ``name`` is its path, for messages.

    Raises:
        BaselineError: anything at all is wrong; the message names the line and column, or the JSON path.
    """
    file = _parse(name, content)
    entries = {}
    for case_id, case in file.cases.items():
        at = _at(name, case_id)
        if case.result is not UNSET:
            raise BaselineError(
                f"{at}.result: a baseline has none", hint="a pending file is no baseline: gpuperf review"
            )
        if case.provenance.kind == "measured" and not case.provenance.reason.strip():
            raise BaselineError(f"{at}.provenance.reason is missing", hint='gpuperf accept --reason "why it moved"')
        entries[case_id] = _entry(at, case)
    return Suite(profile=file.profile, suite=file.suite, entries=entries)


def decode_pending(name: str, content: bytes) -> Pending:
    """Read a pending file's bytes; as :func:`decode`, but every case has a result and none has been approved."""
    file = _parse(name, content)
    entries, results = {}, {}
    for case_id, case in file.cases.items():
        at = _at(name, case_id)
        if isinstance(case.result, UnsetType):
            raise BaselineError(
                f"{at}.result is missing", hint="a baseline is no pending file; measure with --gpu-update"
            )
        if case.provenance.kind != "measured":
            raise BaselineError(f"{at}.provenance.kind", got=repr(case.provenance.kind), expected="'measured'")
        entries[case_id], results[case_id] = _entry(at, case), case.result
    return Pending(profile=file.profile, suite=file.suite, entries=entries, results=results)


def encode(suite: Suite) -> bytes:
    """Return the file of ``suite``: the same bytes for equal content, one line per metric, condition and provenance."""
    return _encode(suite.profile, suite.suite, suite.entries, {})


def encode_pending(pending: Pending) -> bytes:
    """Return the file of ``pending``."""
    return _encode(pending.profile, pending.suite, pending.entries, pending.results)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of baseline and pending files, as published in docs/schema/baseline.json."""
    return schemas.of(SuiteFile)


def _parse(name: str, content: bytes) -> SuiteFile:
    text = scan.decode(name, content)
    try:
        plain = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        byte = re.search(r"\(byte (\d+)\)", str(error))
        offset = len(text.encode()[: int(byte.group(1))].decode(errors="ignore")) if byte else len(text.rstrip())
        what = "the file ends too early" if byte is None else "not JSON"
        raise BaselineError(
            f"{scan.Place(name, text, offset)}: {what}", got=str(error), hint=scan.restore(name)
        ) from error
    plain = migrate(name, plain)
    cases = _mapping(plain.get("cases", {}), f"{name}: $.cases")
    top: SuiteFile = _convert({**plain, "cases": {}}, SuiteFile, f"{name}: $")
    if "cases" not in plain:
        raise BaselineError(f"{name}: $ lacks the required field `cases`", hint=scan.restore(name))
    return msgspec.structs.replace(top, cases={case_id: _case(name, case_id, case) for case_id, case in cases.items()})


def _case(name: str, case_id: str, plain: Any) -> CaseFile:
    """Convert one case at once, or by its parts when it is wrong: only then do messages carry the real keys."""
    ids.check(case_id, f"{name}: $.cases")
    at = _at(name, case_id)
    try:
        whole = msgspec.convert(plain, CaseFile)
    except msgspec.ValidationError:
        return _case_by_parts(at, plain)
    for metric, fields in whole.metrics.items():
        _check_positive(metric, fields, f'{at}.metrics["{metric}"]')
    return whole


def _case_by_parts(at: str, plain: Any) -> CaseFile:
    case = _mapping(plain, at)
    shell: CaseFile = _convert({**case, **{key: {} for key in ("metrics", "conditions") if key in case}}, CaseFile, at)
    metrics = {
        metric: _metric(fields, metric, f'{at}.metrics["{metric}"]')
        for metric, fields in _mapping(case["metrics"], f"{at}.metrics").items()
    }
    conditions: dict[str, str] = {
        key: _convert(value, Text, f'{at}.conditions["{key}"]')
        for key, value in _mapping(case["conditions"], f"{at}.conditions").items()
    }
    return msgspec.structs.replace(shell, metrics=metrics, conditions=conditions)


def _metric(plain: Any, name: str, at: str) -> MetricFile:
    metric: MetricFile = _convert(plain, MetricFile, at)
    _check_positive(name, metric, at)
    return metric


def _check_positive(name: str, metric: MetricFile, at: str) -> None:
    values = [metric.value, *(metric.samples or [])]
    if name.endswith(_POSITIVE) and min(values) <= 0:
        raise BaselineError(f"{at}: no such thing can be measured", got=f"{min(values):g}", expected="a number above 0")


def _convert(plain: Any, kind: Any, at: str) -> Any:
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        hint = scan.restore(at.partition(": $")[0])
        raise BaselineError(f"{at}{path.rstrip('`')} is wrong", got=problem, hint=hint) from error


def _mapping(plain: Any, at: str) -> dict[str, Any]:
    if not isinstance(plain, dict):
        raise BaselineError(f"{at} is wrong", got=f"Expected `object`, got `{_kind(plain)}`")
    return plain


def _kind(plain: Any) -> str:
    kinds = {bool: "bool", int: "int", float: "float", str: "str", list: "array", type(None): "null"}
    return kinds.get(type(plain), "object")


def _at(name: str, case_id: str) -> str:
    return f'{name}: $.cases["{case_id}"]'


def _entry(at: str, case: CaseFile) -> BaselineEntry:
    entry = BaselineEntry(
        metrics={
            name: BaselineMetric(
                value=metric.value,
                unit=metric.unit,
                higher=metric.higher,
                n_processes=metric.n_processes,
                spread_pct=None if isinstance(metric.spread_pct, UnsetType) else metric.spread_pct,
            )
            for name, metric in case.metrics.items()
        },
        conditions=case.conditions,
        provenance=Provenance(**msgspec.structs.asdict(case.provenance)),
        machine=case.conditions.get("machine", ""),
        samples={name: tuple(metric.samples) for name, metric in case.metrics.items() if metric.samples},
    )
    samples.check(entry, at)
    return entry


def _encode(profile: str, suite: str, entries: Mapping[str, BaselineEntry], results: Mapping[str, Result]) -> bytes:
    for case_id in entries:
        ids.check(case_id, f"{profile}/{suite}.json")
    file = SuiteFile(
        schema_version=SCHEMA_VERSION,
        profile=profile,
        suite=suite,
        cases={case_id: _file(entry, results.get(case_id)) for case_id, entry in entries.items()},
    )
    return render(msgspec.to_builtins(file, order="sorted"))


def _file(entry: BaselineEntry, result: Result | None) -> CaseFile:
    return CaseFile(
        metrics={
            name: MetricFile(
                value=metric.value,
                unit=metric.unit,
                higher=metric.higher,
                n_processes=metric.n_processes,
                spread_pct=UNSET if metric.spread_pct is None else metric.spread_pct,
                samples=list(entry.samples[name]) if name in entry.samples else UNSET,
            )
            for name, metric in entry.metrics.items()
        },
        conditions=entry.conditions,
        provenance=msgspec.convert(entry.provenance, ProvenanceFile, from_attributes=True),
        result=UNSET if result is None else result,
    )
