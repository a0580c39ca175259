"""Accepted results over time: many small steps, each within its tolerance, are still a long way together.

A history is a file of JSON lines beside the baselines, ``PROFILE/history/SUITE.jsonl``, one line per accepted run of a
case, appended and never edited; only ``gpuperf baseline mv`` rewrites it, with the case's new name.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from pytest_gpuperf import baselines, conditions, figures, files
from pytest_gpuperf.errors import BaselineError, InfraError
from pytest_gpuperf.records import BaselineEntry, CaseResult, Status, Tolerance, Trend
from pytest_gpuperf.records.sample import Higher

#: Worsening since the anchor that is worth a word, in percent; more where one step alone may be more.
DRIFT_PCT = 5.0
#: Figures that are followed over time, the first of which that has a past is drawn; and which direction is better.
FIGURES: dict[str, Higher] = {
    "latency_p50_ms": "worse",
    figures.SPEED_RATIO: "better",
    "throughput_sps": "better",
    "latency_p99_ms": "worse",
}
_FEWEST = 2
_TOLD = (Status.PASSED, Status.IMPROVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One accepted run of one case.

    Attributes:
        case: id of the case.
        date: ISO date of the acceptance.
        commit: that was measured.
        conditions: digest of the conditions; numbers with different digests are not put in one line.
        figures: accepted value by figure name.
        machine: that they were measured on; only ratios are comparable between machines.
        anchor: whether a person declared this the new starting point: what came before is accounted for.
    """

    case: str
    date: str
    commit: str
    conditions: str
    figures: dict[str, float]
    machine: str = ""
    anchor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far one figure has come since the anchor, in percent; positive is worse."""

    case: str
    figure: str
    worse_pct: float
    steps: int
    since: str

    def __str__(self) -> str:
        return f"{self.figure} is {self.worse_pct:.1f} % worse than on {self.since}, in {self.steps} steps"


def path(root: Path, profile: str, suite: str) -> Path:
    """Return the history's file below the folder of baselines."""
    return root / profile / "history" / f"{suite}.jsonl"


def of_entry(case_id: str, entry: BaselineEntry, *, anchor: bool = False) -> Accepted:
    """Return what is remembered of an approved entry: ratios, and the absolute figures of enough processes to gate.

    What one process took on a noisy machine differs by tens of percent from the next one's; a line of such numbers
    would tell of drift where there is none.
    """
    return Accepted(
        case=case_id,
        date=entry.provenance.date,
        commit=entry.provenance.commit,
        conditions=conditions.digest(entry.conditions),
        figures={
            name: metric.value
            for name, metric in sorted(entry.metrics.items())
            if name in FIGURES and (name == figures.SPEED_RATIO or metric.n_processes >= baselines.MIN_PROCESSES)
        },
        machine=entry.machine,
        anchor=anchor,
    )


def append(path: Path, accepted: Accepted) -> None:
    """Append one line; a single write, so that two processes do not mix their lines.

    Raises:
        BaselineError: a figure is not finite.
        InfraError: the file cannot be written.
    """
    bad = sorted(name for name, number in accepted.figures.items() if not math.isfinite(number))
    if bad:
        raise BaselineError(f"history of {accepted.case}: {', '.join(bad)} is not finite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, _line(accepted).encode())
        finally:
            os.close(file)
    except OSError as error:
        raise InfraError(
            f"cannot write {path}", got=error.strerror, hint="free space or fix the folder's permissions"
        ) from error


def read(path: Path) -> list[Accepted]:
    """Return all accepted runs, oldest first; no file is an empty history.

    Raises:
        BaselineError: a line is damaged; the message names it.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [_parse(line, path, number) for number, line in enumerate(lines, start=1) if line.strip()]
    return sorted(found, key=lambda entry: entry.date)  # two branches, merged line by line, may be out of order


def read_all(folder: Path) -> list[Accepted]:
    """Return the histories of all suites of a server profile; as :func:`read`."""
    return [entry for file in sorted((folder / "history").glob("*.jsonl")) for entry in read(file)]


def rename(path: Path, old: str, new: str) -> None:
    """Take the past of a renamed case along."""
    if path.exists():
        renamed = [replace(entry, case=new) if entry.case == old else entry for entry in read(path)]
        files.write_bytes(path, "".join(map(_line, renamed)).encode())


def trace(cases: Sequence[CaseResult], past: Sequence[Accepted], tolerance: Tolerance) -> list[CaseResult]:
    """Return the cases with their trends, where they have a past; each case's own run is the last point."""
    return [replace(case, trend=_trend(case, past, tolerance)) for case in cases]


def drifts(
    history: Sequence[Accepted], higher: Mapping[str, Higher] = FIGURES, tolerance: Tolerance | None = None
) -> list[Drift]:
    """Return each figure that is worse than its anchor by more than the limit, the furthest first.

    The anchor of a case is its latest entry that was declared one, else its oldest, among entries that are comparable
    with its newest. Ten steps of +1 % reach the limit of 5 % with the fifth, though none of them is more than 1 %.

    Args:
        history: of any number of cases, oldest first.
        higher: direction of each figure that is looked at.
        tolerance: of one step; where it is above :data:`DRIFT_PCT`, less than it is nothing to report.
    """
    found = []
    for case in dict.fromkeys(entry.case for entry in history):
        own = [entry for entry in history if entry.case == case]
        for figure in sorted(own[-1].figures.keys() & higher.keys()):
            chain = _chain(own, figure)
            worse_pct = _worse_pct(chain[0].figures[figure], chain[-1].figures[figure], higher[figure])
            if worse_pct > max(DRIFT_PCT, tolerance.limit_pct(figure) if tolerance else 0.0):
                steps, since = len(chain) - 1, chain[0].date
                found.append(Drift(case=case, figure=figure, worse_pct=worse_pct, steps=steps, since=since))
    return sorted(found, key=lambda drift: -drift.worse_pct)


def _trend(case: CaseResult, past: Sequence[Accepted], tolerance: Tolerance) -> Trend | None:
    """Return the trend of the figure that drifted most, else of the first that has a past."""
    if case.measured is None:
        return None
    now = Accepted(
        case=case.id,
        date=datetime.now(timezone.utc).date().isoformat(),
        commit="",
        conditions=conditions.digest(case.measured.conditions),
        figures={
            name: metric.value
            for name, metric in figures.of(case.measured).items()
            if name in FIGURES and math.isfinite(metric.value)
        },
        machine=case.measured.conditions.get("machine", ""),
    )
    own = [*(entry for entry in past if entry.case == case.id), now]
    # Many steps that each pass are what nobody else tells of; a number that was not decided is no step.
    drifted = drifts(own, tolerance=tolerance) if case.verdict.status in _TOLD else []
    for figure in (*(drift.figure for drift in drifted), *(name for name in FIGURES if name in now.figures)):
        points = tuple((entry.date, entry.figures[figure]) for entry in _comparable(own, figure))
        if len(points) >= _FEWEST:
            drift = str(drifted[0]) if drifted else ""
            return Trend(metric=figure, points=points, change_points=_steps(points), drift=drift)
    return None


def _steps(points: Sequence[tuple[str, float]]) -> tuple[int, ...]:
    values = [value for _, value in points]
    if min(values) <= 0:
        return ()
    from pytest_gpuperf import changepoints

    return tuple(step.index for step in changepoints.find(values))


def _comparable(entries: Sequence[Accepted], figure: str) -> list[Accepted]:
    """Return the entries that the newest one's figure can be compared with, itself included."""
    last = entries[-1]
    return [
        entry
        for entry in entries
        if figure in entry.figures
        and entry.conditions == last.conditions
        and (figure == figures.SPEED_RATIO or entry.machine == last.machine)
    ]


def _chain(entries: Sequence[Accepted], figure: str) -> list[Accepted]:
    """Return what the newest entry is measured against, from the anchor on."""
    same = _comparable(entries, figure)
    start = max((index for index, entry in enumerate(same) if entry.anchor), default=0)
    return same[start:]


def _worse_pct(first: float, last: float, higher: Higher) -> float:
    """Return the worsening as a slowdown: a throughput that halves is 100 % worse, as a latency that doubles."""
    before, after = (first, last) if higher == "worse" else (last, first)
    if before == 0:
        return math.inf if after > 0 else 0.0
    return 100 * (after / before - 1)


def _line(accepted: Accepted) -> str:
    return json.dumps(asdict(accepted), sort_keys=True, ensure_ascii=False, separators=(", ", ": ")) + "\n"


def _parse(line: str, path: Path, number: int) -> Accepted:
    try:
        return msgspec.json.decode(line, type=Accepted)
    except msgspec.MsgspecError as error:
        raise BaselineError(
            f"{path}:{number}: damaged history line",
            got=line[:60],
            expected="one JSON object per line, as written on accept",
            hint="restore the file from git",
        ) from error
