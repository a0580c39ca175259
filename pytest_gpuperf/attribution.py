"""Where a case's time goes: its layers beside those of what it is compared with, the largest difference first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pytest_gpuperf import livepair, subject
from pytest_gpuperf.records import CaseResult, Layer, Status, Verdict

if TYPE_CHECKING:
    from pytest_gpuperf.case import Case
    from pytest_gpuperf.rig import Rig

#: Calls that each layer's median is taken over.
CALLS = 50
#: How TensorRT joins the names of the nodes that it fused into a layer.
_FUSED = re.compile(r" \+ |\|\|")


def run(case: Case, rig: Rig) -> CaseResult:
    """Time the layers of a case and of its live reference, if the session has one; nothing is judged."""
    return subject.run(case, lambda: _timed(case, rig))


def _timed(case: Case, rig: Rig) -> CaseResult:
    with rig.exclusive():
        rig.progress.start(case.id, f"timing the layers of {case.engine.kind} {case.engine.precision}")
        worker, _ = rig.open("candidate", case.engine, case.batches)
        measured = worker.profile(calls=CALLS)
        rig.pool.end("candidate")
        reference, compared = _reference(case, rig)
    outcome = Verdict(status=Status.PASSED, reason="only its layers were timed; nothing was judged")
    return case.result(outcome, reference=reference, layers=pair(measured, compared))


def _reference(case: Case, rig: Rig) -> tuple[str, dict[str, float] | None]:
    """Return the live reference's name and layers; none where the session has no reference, or the case is new."""
    if rig.opponent is None:
        return "none", None
    reference = rig.opponent.reference(case.engine, case.batches, rig.entry(case.suite, case.id))
    if reference.missing:
        return f"none: {reference.missing}", None
    rig.progress.turn(f"timing the layers of {reference.name}")
    worker, _ = livepair.open_side(rig, "live-reference", rig.opponent.launch, reference)
    layers = worker.profile(calls=CALLS)
    rig.pool.end("live-reference")
    return reference.name, layers


def pair(measured: Mapping[str, float], reference: Mapping[str, float] | None) -> tuple[Layer, ...]:
    """Set the layers of two engines side by side, the largest difference first; without a reference, the slowest first.

    A layer's counterpart has the same name. Where one side fused what the other did not, ``a + b`` stands beside ``a``
    and ``b`` together: layers that share a node, directly or by others, are one row.

    Args:
        measured: milliseconds by layer.
        reference: milliseconds by layer of the other side, ``None`` if there is none.
    """
    other = reference or {}
    rows = [
        Layer(
            name=", ".join(names),
            measured_ms=_sum(measured, names),
            reference_ms=_sum(other, names),
            difference_ms=None if reference is None else sum(measured.get(n, 0.0) - other.get(n, 0.0) for n in names),
        )
        for names in _together([*measured, *other])
    ]
    return tuple(sorted(rows, key=_size, reverse=True))


def _size(layer: Layer) -> float:
    return abs(layer.difference_ms) if layer.difference_ms is not None else layer.measured_ms or 0.0


def _sum(times: Mapping[str, float], names: Iterable[str]) -> float | None:
    found = [times[name] for name in names if name in times]
    return sum(found) if found else None


def _together(names: Iterable[str]) -> list[list[str]]:
    """Return the names in groups that share a node; a group lists each name once, in order."""
    groups: list[tuple[set[str], list[str]]] = []
    for name in dict.fromkeys(names):
        nodes = {node.strip() for node in _FUSED.split(name)}
        sharing = [group for group in groups if group[0] & nodes]
        groups = [group for group in groups if not group[0] & nodes]
        merged = [other for _, others in sharing for other in others]
        groups.append((nodes.union(*(known for known, _ in sharing)), [*merged, name]))
    return [found for _, found in groups]
