"""Baselines whose test is gone, and what it is called now."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_gpuperf import conditions
from pytest_gpuperf.records import BaselineEntry, CaseResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """Entries without a test, sorted, and those of them that a case without a baseline can take over: new → old id."""

    unused: tuple[str, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """Return a line for each entry, with the command that settles it."""
        new = {old: case_id for case_id, old in self.renamed.items()}
        return [
            f"unused baseline: {old}; it seems to be {new[old]} now, then: {move(old, new[old])}"
            if old in new
            else f"unused baseline: {old}; remove it with: gpuperf baseline rm {shlex.quote(old)}"
            for old in self.unused
        ]


def move(old: str, new: str) -> str:
    """Return the command that renames an entry."""
    return f"gpuperf baseline mv {shlex.quote(old)} {shlex.quote(new)}"


def find(
    approved: Mapping[str, BaselineEntry],
    cases: Sequence[CaseResult],
    collected: Collection[str],
    *,
    root: Path,
    is_partial: bool,
) -> Orphans:
    """Return what a session knows of entries whose test is gone.

    Args:
        approved: the profile's baseline entries; those of files that pytest did not look at are left alone.
        cases: the session's results.
        collected: node ids of the tests that pytest collected.
        root: folder that node ids start from.
        is_partial: whether tests may be missing for a reason other than their removal.
    """
    files = {case_id.partition("::")[0] for case_id in collected}
    known = {
        case_id: entry
        for case_id, entry in approved.items()
        if (file := case_id.partition("::")[0]) in files or not (root / file).exists()
    }
    gone = unused(known, collected, is_partial=is_partial)
    new = {case.id: case.measured.conditions for case in cases if case.measured and case.id not in approved}
    return Orphans(unused=gone, renamed=renames(new, {case_id: known[case_id] for case_id in gone}))


def unused(approved: Mapping[str, BaselineEntry], collected: Collection[str], *, is_partial: bool) -> tuple[str, ...]:
    """Return the entries whose test is gone, sorted; none for a partial run, which cannot know.

    Args:
        approved: the baseline's entries; published ones are context, and no test need belong to them.
        collected: node ids of the tests that pytest collected. A test that checks several engines has one id and the
            cases ``ID``, ``ID#2``, …
        is_partial: whether tests may be missing for a reason other than their removal.
    """
    if is_partial:
        return ()
    known = set(collected)
    measured = {case for case, entry in approved.items() if entry.provenance.kind == "measured"}
    return tuple(sorted(case for case in measured - known if case.rpartition("#")[0] not in known))


def renames(new: Mapping[str, Mapping[str, str]], gone: Mapping[str, BaselineEntry]) -> dict[str, str]:
    """Return new case id → unused case id where both have the same conditions and no other case has.

    Args:
        new: conditions of the cases without a baseline, by id.
        gone: the unused entries, by id.
    """
    pairs = [
        (case_id, old_id)
        for case_id, measured in new.items()
        for old_id, entry in gone.items()
        if not conditions.diff(measured, entry.conditions).mismatched
    ]
    left, right = [case for case, _ in pairs], [old for _, old in pairs]
    return {case: old for case, old in pairs if left.count(case) == right.count(old) == 1}
