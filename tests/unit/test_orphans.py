"""Baselines whose test is gone."""

from __future__ import annotations

from pytest_gpuperf import orphans
from pytest_gpuperf.orphans import Orphans
from pytest_gpuperf.records import (
    Artefact,
    BaselineEntry,
    BaselineMetric,
    CaseResult,
    EngineInfo,
    Measured,
    Provenance,
    Status,
    Steady,
    Verdict,
)


def approved(kind="measured", **conditions) -> BaselineEntry:
    return BaselineEntry(
        metrics={"latency_p50_ms": BaselineMetric(value=1.0, unit="ms", higher="worse")},
        conditions={"batch": "8", "machine": "m", **conditions},
        provenance=Provenance(kind=kind, date="2026-11-01", reason="first"),
    )


def case(case_id, **conditions) -> CaseResult:
    info = EngineInfo(
        kind="e",
        device="cpu",
        provider="",
        precision="fp32",
        artefact=Artefact(kind="none", path="", sha256=""),
        inputs=(),
        outputs=(),
    )
    return CaseResult(
        id=case_id,
        suite="s",
        model="m",
        engine="e",
        precision="fp32",
        batch=8,
        verdict=Verdict(status=Status.NEW, reason=""),
        measured=Measured(
            info=info,
            steady=Steady(is_steady=True, warmup_runs=1, warmup_s=0.1, drift_pct=0.0),
            metrics={},
            accuracy=None,
            comparison=None,
            conditions={"batch": "8", "machine": "m", **conditions},
        ),
    )


def test_entries_whose_test_is_gone_are_unused():
    entries = {"a.py::t": approved(), "a.py::gone": approved(), "a.py::t#2": approved(), "p": approved("published")}
    assert orphans.unused(entries, ["a.py::t", "a.py::new"], is_partial=False) == ("a.py::gone",)
    assert orphans.unused(entries, ["a.py::t"], is_partial=True) == ()


def test_a_renamed_test_is_recognised_by_its_conditions():
    new = {"a.py::new": {"batch": "8", "machine": "other"}, "a.py::other": {"batch": "64", "machine": "m"}}
    assert orphans.renames(new, {"a.py::old": approved()}) == {"a.py::new": "a.py::old"}


def test_two_candidates_for_a_rename_are_none():
    new = {"a.py::new": {"batch": "8", "machine": "m"}}
    assert orphans.renames(new, {"a.py::old": approved(), "a.py::older": approved()}) == {}


def test_a_session_names_what_is_gone_and_the_command_for_it(tmp_path):
    (tmp_path / "b.py").touch()
    entries = {
        "a.py::old": approved(),
        "a.py::gone": approved(batch="16"),
        "b.py::not_looked_at": approved(),
        "deleted.py::t": approved(batch="32"),
    }
    cases = [case("a.py::new")]
    found = orphans.find(entries, cases, ["a.py::new"], root=tmp_path, is_partial=False)
    assert found == Orphans(unused=("a.py::gone", "a.py::old", "deleted.py::t"), renamed={"a.py::new": "a.py::old"})
    assert found.notes() == [
        "unused baseline: a.py::gone; remove it with: gpuperf baseline rm a.py::gone",
        "unused baseline: a.py::old; it seems to be a.py::new now, then: gpuperf baseline mv a.py::old a.py::new",
        "unused baseline: deleted.py::t; remove it with: gpuperf baseline rm deleted.py::t",
    ]
    assert orphans.find(entries, cases, ["a.py::new"], root=tmp_path, is_partial=True) == Orphans()


def test_a_new_case_beside_the_old_one_is_no_rename(tmp_path):
    collected = ["a.py::old", "a.py::new"]
    found = orphans.find({"a.py::old": approved()}, [case("a.py::new")], collected, root=tmp_path, is_partial=False)
    assert found == Orphans()
