"""Markdown for people: a build's summary page and pull-request comments, cut to what the server takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_gpuperf.records import CaseResult
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.merge import Table
from pytest_gpuperf.report.order import GREEN, counts, worst_first
from pytest_gpuperf.report.results import Results
from pytest_gpuperf.report.terminal import printable

# GitHub drops a step summary of more than 1 MiB whole, and refuses a comment of more than 65,536 characters.
SUMMARY_BYTES = 900_000
COMMENT_BYTES = 65_536
SMALLEST_BYTES = 2_000  # a section says something from here on
COLUMNS = ("verdict", "case", "p50 ms", "p99 ms", "samples/s", "MFU", "of best", "vs ref", "accuracy", "what changed")
_SPECIAL = {char: f"&#{ord(char)};" for char in "\\`*_[]|~$"}
_SPECIAL |= {"@": "@\u200b", "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def document(results: Sequence[Results], tables: Sequence[Table] = (), *, limit_bytes: int = SUMMARY_BYTES) -> str:
    """Return a page with one section per session, cases worst first, of at most ``limit_bytes`` in UTF-8.

    Comparisons of several sessions come first. What does not fit is left out from the good end of a section, and
    counted; each section may take an equal share.
    """
    share = limit_bytes // max(1, len(results) + len(tables)) - 1
    sections = [_comparison(table, share) for table in tables] + [_section(result, share) for result in results]
    return "\n".join(sections)


def text(raw: str) -> str:
    """Escape words for a line of Markdown: no markup, no end of a table cell, no mention, no link, no line break."""
    return "".join(_SPECIAL.get(char, char) for char in printable(raw)).replace("://", "&#58;//")


def code(raw: str) -> str:
    """Escape an identifier for a line of Markdown, in a fixed-width font."""
    return f"<code>{text(raw)}</code>"


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table's lines; cells are Markdown already."""
    names = list(titles)
    return [_row(names), _row(["---"] * len(names)), *map(_row, rows)]


def _comparison(comparison: Table, limit_bytes: int) -> str:
    head = [f"## {text(comparison.title)}", ""] + ([text(comparison.note), ""] if comparison.note else [])
    return _cut(head, table(map(text, comparison.columns), (map(text, row) for row in comparison.rows)), limit_bytes)


def _section(result: Results, limit_bytes: int) -> str:
    cases = worst_first(result.cases)
    found = ", ".join(f"{count} {status.value}" for status, count in counts(cases)) or "no case was measured"
    head = [f"## gpuperf: {text(found)} on {code(result.profile)}", ""]
    if not result.is_complete:
        head += ["**The run was interrupted; cases are missing.**", ""]
    lines = table(COLUMNS, map(_cells, cases)) if cases else []
    return _cut(head, lines, limit_bytes)


def _cells(case: CaseResult) -> list[str]:
    status = case.verdict.status
    verdict = text(status.value) if status in GREEN else f"**{text(status.value)}**"
    numbers = (
        cells.latency(case, "p50"),
        cells.latency(case, "p99"),
        cells.throughput(case),
        cells.utilisation(case),
        cells.best_share(case),
        cells.speed_ratio(case),
        cells.accuracy(case.measured.accuracy if case.measured else None),
    )
    return [verdict, code(case.id), *map(text, numbers), _changed(case)]


def _changed(case: CaseResult) -> str:
    others = cells.others(case)
    remarks = [text(remark) for remark in ([] if others == cells.NONE else [others]) + cells.remarks(case)]
    if case.verdict.status in GREEN:
        return "<br>".join(remarks)
    return "<br>".join([*map(text, cells.told(case)), *remarks, *map(code, case.verdict.hints)])


def _row(row: Iterable[str]) -> str:
    return f"| {' | '.join(row)} |"


def _cut(head: Sequence[str], lines: Sequence[str], limit_bytes: int) -> str:
    """Keep whole lines while they and the closing note fit."""
    note = "\n… and {} more in results.json\n"
    room = limit_bytes - sum(len(line.encode()) + 1 for line in head) - len(note.encode()) - 10
    kept: list[str] = []
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            return "\n".join([*head, *kept]) + "\n" + note.format(len(lines) - max(2, len(kept)))
        kept.append(line)
    return "\n".join([*head, *kept]) + "\n"
