"""One self-contained HTML page: no request, readable without its style sheet and its script (Jenkins blocks both).

The script only adds to the table of cases: a filter, and sorting by a column. It runs by its digest, no other can.

The page has a size limit. Every case keeps its table row; charts and details are written worst first while they fit,
and what was left out is counted on the page.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_gpuperf import __version__, figures, units
from pytest_gpuperf.records import CaseResult, Finding, Metric
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.curve import curves
from pytest_gpuperf.report.failure import name
from pytest_gpuperf.report.html import svg, traces
from pytest_gpuperf.report.merge import Table
from pytest_gpuperf.report.order import GREEN, counts, worst_first
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable

LIMIT_BYTES = 300_000
# Of what is left beside the table, charts may take this share.
CHART_SHARE = 0.4
# Headings and notes that stand around charts and details.
FRAME_BYTES = 1_000
# Of a case's layers, those that differ most.
MOST_LAYERS = 10


@dataclass(frozen=True)
class _Entry:
    """A case on the page: its anchor, and whether its details were written."""

    anchor: str
    case: CaseResult


@dataclass(frozen=True)
class _Figure:
    """A row of a case's figures: what was measured, and what it was judged against."""

    name: str
    metric: Metric
    finding: Finding | None
    chart: Markup


def document(results: Sequence[Results], tables: Sequence[Table] = (), *, limit_bytes: int = LIMIT_BYTES) -> str:
    """Return the page.

    Args:
        results: sessions, each with a section of its own.
        tables: comparisons of several sessions, shown first.
        limit_bytes: what the page may take in UTF-8, as long as the table itself fits.
    """
    sessions = [
        (result, [_Entry(f"c{number}-{rank}", case) for rank, case in enumerate(worst_first(result.cases))])
        for number, result in enumerate(results)
    ]
    shared = {"sessions": sessions, "tables": tables}
    empty = _render("page.html", **shared, charts=[], details={}, missing_charts=0, missing_details=0)
    room = limit_bytes - len(empty.encode()) - FRAME_BYTES
    charts, missing_charts = _charts(results, int(room * CHART_SHARE))
    room -= sum(len(chart.encode()) for chart in charts)
    details, missing_details = _details(sessions, room)
    return _render(
        "page.html",
        **shared,
        charts=charts,
        details=details,
        missing_charts=missing_charts,
        missing_details=missing_details,
    )


def _charts(results: Sequence[Results], room: int) -> tuple[list[Markup], int]:
    drawn = [_fragment("chart.html", title=title, lines=lines) for title, lines in curves(results).items()]
    kept = _fitting(drawn, room)
    return kept, len(drawn) - len(kept)


def _details(sessions: Sequence[tuple[Results, list[_Entry]]], room: int) -> tuple[dict[str, Markup], int]:
    """Write details, worst case first; of several sessions, each gets an equal share of the room."""
    details: dict[str, Markup] = {}
    for result, entries in sessions:
        left = room // len(sessions)
        for entry in entries:
            text = _fragment("case.html", entry=entry, profile=result.profile, rows=_figures(entry.case))
            left -= len(text.encode()) + len(f'<a href="#{entry.anchor}"></a>')
            if left < 0:
                break
            details[entry.anchor] = text
    return details, sum(len(entries) for _, entries in sessions) - len(details)


def _fitting(parts: Sequence[Markup], room: int) -> list[Markup]:
    kept = []
    for part in parts:
        room -= len(part.encode())
        if room < 0:
            break
        kept.append(part)
    return kept


def _figures(case: CaseResult) -> list[_Figure]:
    if case.measured is None:
        return []
    judged = {finding.metric: finding for finding in case.verdict.findings}
    rows = [
        _Figure(name(metric), value, found, svg.interval(found) if found and _is_judged(found) else Markup())
        for metric, value in figures.of(case.measured).items()
        for found in [judged.get(metric)]
    ]
    return sorted(rows, key=lambda row: row.finding is None or row.finding.status in GREEN)  # what failed comes first


def _is_judged(found: Finding) -> bool:
    """Whether a figure counted: one without a limit stands beside its baseline as context."""
    return found.limit is not None or found.status not in GREEN


def _notes(case: CaseResult) -> dict[str, list[str]]:
    """Return what is said of figures, and of which, unless the verdict's reason says it already."""
    notes: dict[str, list[str]] = {}
    for found in case.verdict.findings:
        if found.note and found.note not in case.verdict.reason:
            notes.setdefault(found.note, []).append(name(found.metric))
    return notes


def _command(case: CaseResult, profile: str) -> str:
    return f"pytest {shlex.quote(case.id)} --gpu-profile={shlex.quote(profile)}"


def _fragment(template: str, **context: Any) -> Markup:
    return Markup(_render(template, **context))  # noqa: S704 - the template has escaped it


def _render(template: str, **context: Any) -> str:
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pytest_gpuperf.report", "html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever is printed loses its control characters, which HTML cannot hold and readers cannot see.
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
    )
    script = Markup(files("pytest_gpuperf.report.html").joinpath("table.js").read_text("utf-8"))  # noqa: S704 - ours
    environment.globals |= {
        "cells": cells,
        "change": cells.change,
        "command": _command,
        "counts": counts,
        "curves": svg.curves,
        "green": GREEN,
        "is_judged": _is_judged,
        "most_layers": MOST_LAYERS,
        "notes": _notes,
        "traces": traces.charts,
        "script": script,
        "script_digest": f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        "units": units,
        "version": __version__,
    }
    return environment
