"""Accepted results over time: many small steps, each within its tolerance, are still a long way together.

A history is a file of JSON lines beside the baselines, one line per accepted run of a case, appended and never edited.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from pytest_gpuperf.errors import BaselineError
from pytest_gpuperf.records.sample import Higher

#: Worsening since the anchor that is worth a word, in percent.
DRIFT_PCT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One accepted run of one case.

    Attributes:
        case: id of the case.
        date: ISO date of the acceptance.
        commit: that was measured.
        conditions: digest of the conditions; numbers with different digests are not put in one line.
        figures: accepted value by figure name.
        anchor: whether a person declared this the new starting point: what came before is accounted for.
    """

    case: str
    date: str
    commit: str
    conditions: str
    figures: dict[str, float]
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
        return (
            f"{self.case}: {self.figure} is {self.worse_pct:.1f} % worse than on {self.since}, "
            f"in {self.steps} accepted steps"
        )


def append(path: Path, accepted: Accepted) -> None:
    """Append one line; a single write, so that two processes do not mix their lines.

    Raises:
        BaselineError: a figure is not finite.
    """
    bad = sorted(name for name, number in accepted.figures.items() if not math.isfinite(number))
    if bad:
        raise BaselineError(f"history of {accepted.case}: {', '.join(bad)} is not finite")
    line = json.dumps(asdict(accepted), sort_keys=True, ensure_ascii=False, separators=(", ", ": ")) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def read(path: Path) -> list[Accepted]:
    """Return all accepted runs, oldest first; no file is an empty history.

    Raises:
        BaselineError: a line is damaged; the message names it.
    """
    if not path.exists():
        return []
    return [
        _parse(line, path, number)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if line.strip()
    ]


def drifts(history: Sequence[Accepted], higher: Mapping[str, Higher], limit_pct: float = DRIFT_PCT) -> list[Drift]:
    """Return each figure that is worse than its anchor by more than the limit, the furthest first.

    The anchor of a case is its latest entry that was declared one, else its oldest, among entries with the conditions
    of its newest. Ten steps of +1 % reach the limit of 5 % with the fifth, though none of them is more than 1 %.

    Args:
        history: of any number of cases, oldest first.
        higher: direction of each figure that is looked at.
        limit_pct: worsening that is still nothing to report.
    """
    found = []
    for case in dict.fromkeys(entry.case for entry in history):
        chain = _chain([entry for entry in history if entry.case == case])
        first, last = chain[0], chain[-1]
        for figure in sorted(first.figures.keys() & last.figures.keys() & higher.keys()):
            worse_pct = _worse_pct(first.figures[figure], last.figures[figure], higher[figure])
            if worse_pct > limit_pct:
                steps = len(chain) - 1
                found.append(Drift(case=case, figure=figure, worse_pct=worse_pct, steps=steps, since=first.date))
    return sorted(found, key=lambda drift: -drift.worse_pct)


def _chain(entries: Sequence[Accepted]) -> list[Accepted]:
    """Return the entries that the newest is measured against, from the anchor on."""
    same = [entry for entry in entries if entry.conditions == entries[-1].conditions]
    start = max((index for index, entry in enumerate(same) if entry.anchor), default=0)
    return same[start:]


def _worse_pct(first: float, last: float, higher: Higher) -> float:
    """Return the worsening as a slowdown: a throughput that halves is 100 % worse, as a latency that doubles."""
    before, after = (first, last) if higher == "worse" else (last, first)
    if before == 0:
        return math.inf if after > 0 else 0.0
    return 100 * (after / before - 1)


def _parse(line: str, path: Path, number: int) -> Accepted:
    known = {field.name for field in fields(Accepted)}
    try:
        raw = json.loads(line, parse_constant=_refuse)
        entry = Accepted(**{name: value for name, value in raw.items() if name in known})
        return Accepted(**{**asdict(entry), "figures": {name: float(x) for name, x in entry.figures.items()}})
    except (ValueError, TypeError, AttributeError) as error:
        raise BaselineError(
            f"{path}:{number}: damaged history line",
            got=line[:60],
            expected="one JSON object per line, as written on accept",
            hint="restore the file from git",
        ) from error


def _refuse(constant: str) -> float:
    raise ValueError(constant)
