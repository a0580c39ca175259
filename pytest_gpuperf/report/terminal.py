"""What a person sees in the terminal: header, verdict table, closing line."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from pytest_gpuperf import __version__, units
from pytest_gpuperf.records import CaseResult, Status
from pytest_gpuperf.report import cells
from pytest_gpuperf.report.order import GREEN, counts, worst_first

RESET = "\x1b[0m"
RED, GREEN_INK, YELLOW, BOLD = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m"
UNDECIDED = frozenset({Status.NEW, Status.NOT_COMPARABLE, Status.INCONCLUSIVE, Status.INFRA})
GREEN_ROWS = 40
SMALLEST_ID = 24


@dataclass(frozen=True)
class Column:
    """One column: ``keep`` is its rank, the columns with the smallest ranks go first when the terminal is narrow.

    ``is_rare`` columns are left out where no case has anything to show in them.
    """

    title: str
    keep: int
    cell: Callable[[CaseResult], str]
    is_text: bool = False
    is_rare: bool = False


def _bounds(case: CaseResult) -> str:
    metric = cells.metrics(case).get(cells.LATENCY.format("p50"))
    return cells.bounds(metric) if metric else cells.NONE


VERDICT = Column("verdict", 9, lambda case: case.verdict.status.value, is_text=True)
COLUMNS = (
    Column("p50 ms", 5, lambda case: cells.latency(case, "p50")),
    Column("p99 ms", 3, lambda case: cells.latency(case, "p99")),
    Column("samples/s", 4, cells.throughput),
    Column("vs ref", 6, cells.speed_ratio),
    Column("MFU", 2, cells.utilisation, is_rare=True),
    Column("of best", 1, cells.best_share, is_rare=True),
    Column("figures", 7, cells.others, is_text=True, is_rare=True),
    Column("accuracy", 2, lambda case: cells.accuracy(case.measured.accuracy if case.measured else None), is_text=True),
    Column("against", 1, lambda case: case.judged_against, is_text=True),
)
VERBOSE = (
    Column("95 % of p50", 1, _bounds, is_text=True),
    Column("took", 0, lambda case: units.seconds(case.seconds)),
)


def header(
    *, profile: str, why: str = "", machine: str = "", software: Mapping[str, str] | None = None, certificate: str = ""
) -> list[str]:
    """Say whose numbers these will be.

    Args:
        profile: name of the server profile.
        why: how it was chosen, such as ``from --gpu-profile``.
        machine: the hardware in one phrase, such as ``2 x NVIDIA A40, driver 550.54``.
        software: runtime → version.
        certificate: error rates that were shown for this machine, in one phrase; empty = none.
    """
    chosen = f"{profile} ({why})" if why else profile
    versions = ", ".join(f"{name} {version}" for name, version in (software or {}).items())
    lines = ["; ".join(part for part in (f"gpuperf {__version__}: profile {chosen}", machine, versions) if part)]
    if certificate:
        lines.append(f"gpuperf certificate: {certificate}")
    return [printable(line) for line in lines]


def table(cases: Sequence[CaseResult], *, width: int, colour: bool, verbosity: int = 0) -> list[str]:
    """Return the verdict table, worst case first.

    Args:
        cases: in any order.
        width: of the terminal in columns. Where ids do not fit, what they begin with alike is told once, below the
            table. Narrow terminals then lose, in this order: took, bounds, reference, accuracy, p99, samples/s, p50,
            ratio; then ids are cut in the middle. Verdict and id always stay.
        colour: whether to colour verdicts (the caller has asked ``NO_COLOR`` and the terminal).
        verbosity: below 0 only cases that are not green; 0 at most 40 green ones; above 0 all, with bounds and times.
    """
    shown, hidden = _select(worst_first(cases), verbosity)
    if not shown:
        return []
    names = [printable(case.id) for case in shown]
    wanted = [
        column for column in (VERDICT, *COLUMNS, *(VERBOSE if verbosity > 0 else ())) if _is_wanted(column, shown)
    ]
    columns, id_width = _fit(wanted, shown, names, width)
    shared = ""
    if len(columns) < len(wanted) or id_width < max(map(_cells, names)):
        shared = _shared(names)
        names = [name.removeprefix(shared) for name in names]
        columns, id_width = _fit(wanted, shown, names, width)
    grid = [[column.title for column in columns]] + [[column.cell(case) for column in columns] for case in shown]
    widths = [max(_cells(row[index]) for row in grid) for index in range(len(columns))]
    lines = []
    for name, row, case in zip(["case", *names], grid, [None, *shown], strict=True):
        padded = [
            _pad(text, size, left=column.is_text) for text, size, column in zip(row, widths, columns, strict=True)
        ]
        if colour:
            padded[0] = f"{_ink(case)}{padded[0]}{RESET}"
        lines.append("  ".join([padded[0], _pad(cut(name, id_width), id_width, left=True), *padded[1:]]).rstrip())
    if shared:
        lines.append(cut(f"cases are in {shared.removesuffix('::')}", width))
    if any(column.title == "vs ref" for column in columns):
        lines.append(cut("vs ref: speed over the reference's, above 1 is faster", width))
    if any(column.title == "MFU" for column in columns):
        lines.append(cut("MFU: share of the GPU's peak; of best: of the best published throughput of this card", width))
    if hidden:
        lines.append(f"… and {hidden} more green {'case' if hidden == 1 else 'cases'} (-v shows all)")
    return lines


def remarks(cases: Sequence[CaseResult]) -> list[str]:
    """Return a line for each number that cannot be right, and for each case that drifted in small steps."""
    return [printable(f"{case.id}: {remark}") for case in worst_first(cases) for remark in cells.remarks(case)]


def references(cases: Sequence[CaseResult]) -> list[str]:
    """Say what the cases were judged against and why not against something better, cases of one answer together."""
    answers = Counter((cells.judged_against(case), case.why_not_better) for case in cases)
    return [
        printable(f"{count} judged against {reference}" + (f": {why}" if why else ""))
        for (reference, why), count in answers.most_common()
    ]


def summary(cases: Sequence[CaseResult], *, seconds: float | None = None, results: str = "") -> str:
    """Return the closing line: counts by verdict, time, where the results are."""
    found = ", ".join(f"{count} {status.value}" for status, count in counts(cases)) or "no case was measured"
    took = f" in {units.seconds(seconds)}" if seconds is not None else ""
    return printable(f"gpuperf: {found}{took}" + (f"; results: {results}" if results else ""))


def printable(text: str) -> str:
    """Replace what could move the cursor, change colours or reverse the line by its escaped form."""
    return "".join(
        char if unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} else ascii(char)[1:-1] for char in text
    )


def cut(text: str, size: int) -> str:
    """Shorten to ``size`` columns in the middle: the start of an id tells the suite, its end the parameters."""
    if _cells(text) <= size:
        return text
    tail = _take(reversed(text), (size - 1) * 2 // 3)
    head = _take(text, size - 1 - _cells(tail))
    return f"{head}…{tail[::-1]}" if size > 0 else ""


def _select(cases: list[CaseResult], verbosity: int) -> tuple[list[CaseResult], int]:
    green = sum(case.verdict.status in GREEN for case in cases)
    if verbosity > 0:
        return cases, 0
    hidden = green if verbosity < 0 else max(0, green - GREEN_ROWS)
    return cases[: len(cases) - hidden], 0 if verbosity < 0 else hidden


def _shared(names: Sequence[str]) -> str:
    """Return the folders, and the file if it is one, that all ids begin with."""
    common = commonprefix([name.partition("[")[0] for name in names])  # noqa: RUF071 - ids are no paths; cut below
    for end in ("::", "/"):
        if end in common:
            return common[: common.rindex(end) + len(end)]
    return ""


def _is_wanted(column: Column, cases: Sequence[CaseResult]) -> bool:
    return not column.is_rare or any(column.cell(case) != cells.NONE for case in cases)


def _fit(
    columns: Sequence[Column], cases: Sequence[CaseResult], names: Sequence[str], width: int
) -> tuple[list[Column], int]:
    """Drop columns until the ids fit, or are cut to a width that still tells them apart."""
    wanted = max(map(_cells, [*names, "case"]))
    kept = list(columns)
    while True:
        used = sum(2 + max(_cells(column.title), *(_cells(column.cell(case)) for case in cases)) for column in kept)
        left = width - used
        if left >= min(wanted, 2 * SMALLEST_ID) or len(kept) == 1:
            return kept, max(1, min(wanted, left))
        kept.remove(min(kept, key=lambda column: column.keep))


def _ink(case: CaseResult | None) -> str:
    if case is None:
        return BOLD
    if case.verdict.status in GREEN:
        return GREEN_INK
    return YELLOW if case.verdict.status in UNDECIDED else RED


def _cells(text: str) -> int:
    """Count terminal columns: East Asian wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _pad(text: str, size: int, *, left: bool) -> str:
    fill = " " * (size - _cells(text))
    return text + fill if left else fill + text


def _take(text: Iterable[str], size: int) -> str:
    taken = ""
    for char in text:
        if _cells(taken + char) > size:
            break
        taken += char
    return taken
