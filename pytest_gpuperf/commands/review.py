"""``gpuperf review``: show each pending change with all that speaks for and against it, and ask."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_gpuperf import approval, baselines, conditions, orphans
from pytest_gpuperf.baselines import Result
from pytest_gpuperf.commands import pending
from pytest_gpuperf.commands.pending import Source
from pytest_gpuperf.records import BaselineEntry, BaselineMetric, Metric
from pytest_gpuperf.units import change, value

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_QUESTION = "accept, reject, skip or quit? [a/r/s/q] "


class _QuitError(Exception):
    """The person has had enough; what is settled is settled."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    pending.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask about every pending case; 0 when none is left open."""
    sources = pending.load(args)
    name = approval.approver(Path.cwd())
    left = sum(len(source.pending.entries) for source in sources)
    written: dict[Path, str] = {}
    try:
        for source in sources:
            approved = baselines.read(
                baselines.baseline_path(args.baselines, source.pending.profile, source.pending.suite)
            ).entries
            for case_id in sorted(source.pending.entries):
                _print(*_lines(source, case_id, approved))
                settled, paths = _settle(args.baselines, source, case_id, name)
                left -= settled
                written |= paths
    except (_QuitError, EOFError):
        _print("")
    if written:
        _print(pending.commit(written, "; ".join(dict.fromkeys(written.values()))))
    if left:
        _print(f"{left} left open")
    return 1 if left else 0


def _settle(root: Path, source: Source, case_id: str, name: str) -> tuple[bool, dict[Path, str]]:
    """Ask about one case and do it; return whether it is settled, and what was written for which reason."""
    answer = _ask(_QUESTION, "arsq")
    if answer == "q":
        raise _QuitError
    if answer == "s":
        return False, {}
    written = {}
    if answer == "a":
        reason = _reason()
        paths = approval.accept(source.pending, {case_id}, root=root, reason=reason, approver=name, source=source.name)
        written = dict.fromkeys(paths, reason)
    source.remove({case_id})
    _print("accepted" if answer == "a" else "rejected; fix the cause and measure again", "")
    return True, written


def _ask(question: str, choices: str) -> str:
    while True:
        answer = input(question).strip().lower()[:1]
        if answer and answer in choices:
            return answer


def _reason() -> str:
    while not (reason := input("reason: ").strip()):
        _print("a baseline moves only with a reason")
    return reason


def _lines(source: Source, case_id: str, approved: Mapping[str, BaselineEntry]) -> Iterator[str]:
    """Describe one change in at most about a dozen lines."""
    new, result = source.pending.entries[case_id], source.pending.results[case_id]
    old = approved.get(case_id)
    yield f"{source.pending.profile}  {case_id} - {result.verdict}: {result.reason}"
    for name, metric in sorted(new.metrics.items()):
        yield f"  {_metric(name, metric, old, result)}"
    if old is None:
        yield "  no baseline yet"
        if result.renamed_from in approved:
            keep = orphans.move(result.renamed_from, case_id)
            yield f"  it seems to have been {result.renamed_from}; to keep what was approved, reject and: {keep}"
    else:
        for phrase in conditions.describe(conditions.diff(new.conditions, old.conditions)):
            yield _red(f"  {phrase}") if "tolerance x" in phrase else f"  {phrase}"
        was = old.provenance
        by = f" by {was.approver}" if was.approver else ""
        yield f"  last: {was.kind} {was.date}{by}: {was.reason or was.source}"


def _metric(name: str, new: BaselineMetric, old: BaselineEntry | None, result: Result) -> str:
    """Return ``name old -> new  change  [interval]  processes``, red where the new limit is looser."""
    base = old.metrics.get(name) if old is not None else None
    was = value(base.value, base.unit) if base else "none"
    text = f"{name}  {was} -> {value(new.value, new.unit)}{_interval(result.metrics.get(name))}"
    if base and base.value:
        text += f"  {change(100 * (new.value / base.value - 1))}"
    text += f"  {new.n_processes} process{'es' if new.n_processes > 1 else ''}"
    if new.n_processes > 1 and new.spread_pct is not None:
        text += f", spread {new.spread_pct:.2g} %"
    if base and _is_looser(new, base):
        return _red(f"{text}  LOOSER")
    return text


def _red(text: str) -> str:
    return f"{_RED}{text}{_PLAIN}" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def _is_looser(new: BaselineMetric, old: BaselineMetric) -> bool:
    """Whether a later run may be worse than before: a worse value, or a spread that allows more."""
    is_worse = new.value > old.value if new.higher == "worse" else new.value < old.value
    return is_worse or (new.spread_pct or 0.0) > 2 * (old.spread_pct or new.spread_pct or 0.0)


def _interval(metric: Metric | None) -> str:
    if metric is None or metric.lower is None or metric.upper is None:
        return ""
    return f" [{value(metric.lower, metric.unit)}, {value(metric.upper, metric.unit)}]"


def _print(*lines: str) -> None:
    for line in lines:
        print(line)  # noqa: T201 - this is a command
