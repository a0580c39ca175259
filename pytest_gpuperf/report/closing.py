"""The notes below the table: what a reader should know or do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_gpuperf import baselines
from pytest_gpuperf.records import CaseResult, Status


def warnings(results: Sequence[CaseResult], actions: Mapping[Status, str]) -> list[str]:
    """Return a line on the cases that pass although their verdict is not green."""
    warned = [result for result in results if actions.get(result.verdict.status) == "warn"]
    if not warned:
        return []
    is_new = any(result.verdict.status is Status.NEW for result in warned)
    counted = "1 case passes" if len(warned) == 1 else f"{len(warned)} cases pass"
    return [f"{counted} with a warning only" + ("; in CI, `new` fails" if is_new else "")]


def pending(written: int, skipped: Mapping[str, str], *, update: str, processes: int) -> list[str]:
    """Return lines on the pending baselines, and on the cases that got none although they were asked for.

    Args:
        written: how many there are now.
        skipped: why there is none, by case id.
        update: mode of ``--gpu-update``.
        processes: fresh process pairs per case.
    """
    notes = []
    if written:
        notes.append(f"{written} pending baselines were written; look at them with: gpuperf review")
        if processes < baselines.MIN_PROCESSES:
            notes.append(
                f"they rest on {processes} of {baselines.MIN_PROCESSES} processes, so their absolute numbers will not "
                f"gate; measure them with --gpu-processes={baselines.MIN_PROCESSES}"
            )
    if update != "none":
        notes += [f"not pending: {case_id}: {why}" for case_id, why in skipped.items() if "gpu-update" not in why]
    return notes
