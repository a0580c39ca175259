"""Two versions of one baseline file, joined case by case."""

from __future__ import annotations

from pytest_gpuperf.baselines.schema import Suite, encode
from pytest_gpuperf.errors import BaselineError
from pytest_gpuperf.records import BaselineEntry


def merge(ours: Suite, theirs: Suite) -> Suite:
    """Return every case of both; of two entries of one case the better witnessed.

    Measured beats published, then the later approval counts. The order is total, so merging is commutative, associative
    and idempotent: it does not matter who merges first.

    Raises:
        BaselineError: the two are not versions of one file.
    """
    if (ours.profile, ours.suite) != (theirs.profile, theirs.suite):
        raise BaselineError(
            "two different baselines cannot be merged",
            got=f"{theirs.profile}/{theirs.suite}",
            expected=f"{ours.profile}/{ours.suite}",
        )
    entries = dict(ours.entries)
    for case_id, entry in theirs.entries.items():
        entries[case_id] = max(entries.get(case_id, entry), entry, key=_rank)
    return Suite(profile=ours.profile, suite=ours.suite, entries=entries)


def _rank(entry: BaselineEntry) -> tuple[bool, str, bytes]:
    content = encode(Suite(profile="", suite="", entries={"-": entry}))
    return entry.provenance.kind == "measured", entry.provenance.date, content
