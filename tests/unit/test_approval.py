from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_gpuperf import approval, baselines, history
from pytest_gpuperf.baselines import Pending
from pytest_gpuperf.errors import BaselineError, ConfigError, InfraError
from pytest_gpuperf.records import (
    Artefact,
    BaselineEntry,
    CaseResult,
    EngineInfo,
    Measured,
    Metric,
    Provenance,
    Status,
    Steady,
    Verdict,
)

INFO = EngineInfo(
    kind="onnxruntime",
    device="cpu",
    provider="CPUExecutionProvider",
    precision="fp32",
    artefact=Artefact(kind="onnx", path="/p", sha256="aa"),
    inputs=(),
    outputs=(),
)


def case(case_id="a.py::t", status=Status.NEW, *, ms=12.5, suite="vision", measured=True, **conditions) -> CaseResult:
    run = Measured(
        info=INFO,
        steady=Steady(is_steady=True, warmup_runs=1, warmup_s=1.0, drift_pct=0.0),
        metrics={"latency_p50_ms": Metric(value=ms, unit="ms", lower=ms - 0.1, upper=ms + 0.1, n=100)},
        accuracy=None,
        comparison=None,
        conditions={"batch": "8", "machine": "m", **conditions},
        samples={"latency_p50_ms": (ms, ms * 1.01, ms * 0.99, ms, ms)},
    )
    return CaseResult(
        id=case_id,
        suite=suite,
        model="resnet50",
        engine="onnxruntime",
        precision="fp32",
        batch=8,
        verdict=Verdict(status=status, reason="because"),
        measured=run if measured else None,
    )


def approved(kind="measured", **conditions) -> BaselineEntry:
    made = approval.entry(case(**conditions), commit="c")
    return replace(made, provenance=Provenance(kind=kind, date="2026-11-01", reason="first"))


# --- CI ---


@pytest.mark.parametrize("variable", ["CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL"])
def test_update_is_refused_in_ci(variable):
    with pytest.raises(ConfigError) as caught:
        approval.check_update("changed", is_allowed_in_ci=False, environ={variable: "true"})
    assert str(caught.value) == (
        "--gpu-update is refused in CI: baselines change by a person's hand\n"
        f"  got:      --gpu-update=changed with {variable}=true\n"
        "  next:     add --gpu-update-in-ci to collect pending files as an artefact, then: gpuperf accept pending.zip"
    )


@pytest.mark.parametrize(
    ("mode", "allowed", "environ"),
    [("none", False, {"CI": "1"}), ("all", True, {"CI": "1"}), ("all", False, {}), ("all", False, {"CI": "false"})],
)
def test_update_is_allowed(mode, allowed, environ):
    approval.check_update(mode, is_allowed_in_ci=allowed, environ=environ)


def test_ci_is_recognised():
    assert approval.is_ci({"JENKINS_URL": "http://j"})
    assert not approval.is_ci({"CI": "0", "HOME": "/"})


# --- what is proposed ---


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (Status.INCONCLUSIVE, "the machine could not support a verdict, so it cannot support a baseline"),
        (Status.INFRA, "the machine is at fault"),
        (Status.CONFIG, "the input is at fault"),
        (
            Status.INACCURATE,
            "a less accurate engine is no baseline; fix it, or change the test's accuracy bounds first",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["new", "changed", "all"])
def test_untrustworthy_cases_are_never_proposed(status, why, mode):
    assert approval.plan([case(status=status)], {}, mode) == approval.Plan(skip={"a.py::t": why})


@pytest.mark.parametrize(
    ("status", "kind", "modes"),
    [
        (Status.NEW, None, {"new", "changed", "all"}),
        (Status.NEW, "published", {"new", "changed", "all"}),
        (Status.REGRESSED, "measured", {"changed", "all"}),
        (Status.IMPROVED, "measured", {"changed", "all"}),
        (Status.NOT_COMPARABLE, "measured", {"changed", "all"}),
        (Status.OVER_BUDGET, "measured", {"changed", "all"}),
        (Status.PASSED, "measured", {"all"}),
        (Status.PASSED, None, {"new", "changed", "all"}),
    ],
)
def test_modes_choose_cases(status, kind, modes):
    entries = {} if kind is None else {"a.py::t": approved(kind)}
    written = {m for m in ("none", "new", "changed", "all") if approval.plan([case(status=status)], entries, m).write}
    assert written == modes


def test_every_skip_says_why():
    entries = {"a.py::t": approved()}
    assert approval.plan([case(status=Status.PASSED)], entries, "changed").skip == {
        "a.py::t": "verdict passed: --gpu-update=changed"
    }
    assert approval.plan([case()], {}, "none").skip == {"a.py::t": "--gpu-update=none"}
    assert approval.plan([case(measured=False)], {}, "all").skip == {"a.py::t": "nothing was measured"}
    assert approval.plan([case(ms=float("nan"))], {}, "all").skip == {"a.py::t": "no metric has a finite value"}


def test_proposals_go_to_the_out_folder_and_nowhere_else(tmp_path):
    cases = [case("a.py::t"), case("b.py::u", suite="language"), case("a.py::v", Status.INCONCLUSIVE)]
    plan, paths = approval.propose(cases, {}, "all", out=tmp_path / "out", profile="a40", commit="abc")
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "out/pending/a40/language.json",
        "out/pending/a40/vision.json",
    ]
    assert set(plan.skip) == {"a.py::v"}
    pending = baselines.read_pending(paths[1])
    assert pending.entries["a.py::t"].provenance.commit == "abc"
    assert pending.entries["a.py::t"].provenance.approver == ""
    assert pending.entries["a.py::t"].machine == "m"
    assert pending.entries["a.py::t"].metrics["latency_p50_ms"].n_processes == 5
    assert pending.results["a.py::t"].metrics["latency_p50_ms"].lower == 12.4
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_an_unmeasured_case_has_no_entry():
    with pytest.raises(ConfigError, match=r"a\.py::t was not measured, so it cannot become a baseline"):
        approval.entry(case(measured=False), commit="")


# --- accepting ---


def proposed(tmp_path, *cases: CaseResult) -> tuple[Pending, str]:
    _, (path,) = approval.propose(cases, {}, "all", out=tmp_path / "out", profile="a40", commit="abc")
    return baselines.read_pending(path), str(path)


def test_accepting_keeps_reason_commit_name_and_date(tmp_path, monkeypatch):
    monkeypatch.setattr(approval, "_today", lambda: "2026-11-23")
    pending, source = proposed(tmp_path, case(), case("a.py::u"))
    path, past = approval.accept(
        pending, {"a.py::t"}, root=tmp_path / "baselines", reason=" fused ", approver="A Person", source=source
    )
    assert path == tmp_path / "baselines" / "a40" / "vision.json"
    entries = baselines.read(path).entries
    assert set(entries) == {"a.py::t"}
    assert entries["a.py::t"].provenance == Provenance(
        kind="measured", date="2026-11-23", reason="fused", commit="abc", approver="A Person"
    )
    (remembered,) = history.read(past)
    assert past == tmp_path / "baselines" / "a40" / "history" / "vision.jsonl"
    assert (remembered.case, remembered.date, remembered.figures) == ("a.py::t", "2026-11-23", {"latency_p50_ms": 12.5})


def test_the_history_begins_with_what_was_approved_before_it(tmp_path):
    path = baselines.baseline_path(tmp_path / "baselines", "a40", "vision")
    baselines.update(path, {"a.py::t": approved(), "a.py::p": approved("published")})
    for anchor in (False, True):
        pending, source = proposed(tmp_path, case(ms=13.0), case("a.py::p"))
        _, past = approval.accept(
            pending,
            pending.entries,
            root=tmp_path / "baselines",
            reason="r",
            approver="A",
            source=source,
            anchor=anchor,
        )
    found = [(entry.figures["latency_p50_ms"], entry.anchor) for entry in history.read(past) if entry.case == "a.py::t"]
    assert found == [(12.5, False), (13.0, False), (13.0, True)]
    assert [entry.anchor for entry in history.read(past) if entry.case == "a.py::p"] == [False, True]


def test_a_damaged_history_is_refused_before_anything_is_written(tmp_path):
    pending, source = proposed(tmp_path, case())
    past = history.path(tmp_path / "baselines", "a40", "vision")
    past.parent.mkdir(parents=True)
    past.write_text("<<<<<<< ours\n")
    with pytest.raises(BaselineError, match=r"vision\.jsonl:1: damaged history line"):
        approval.accept(pending, {"a.py::t"}, root=tmp_path / "baselines", reason="r", approver="A", source=source)
    assert not baselines.baseline_path(tmp_path / "baselines", "a40", "vision").exists()


def test_a_history_that_cannot_be_written_loses_nothing(tmp_path):
    pending, source = proposed(tmp_path, case())
    (tmp_path / "baselines" / "a40").mkdir(parents=True)
    (tmp_path / "baselines" / "a40" / "history").write_text("in the way")
    with pytest.raises(InfraError) as caught:
        approval.accept(pending, {"a.py::t"}, root=tmp_path / "baselines", reason="r", approver="A", source=source)
    assert f"nothing is lost: the results are still in {source}; fix the cause and accept again" in str(caught.value)


def test_the_first_measured_run_replaces_a_published_entry(tmp_path):
    path = baselines.baseline_path(tmp_path / "baselines", "a40", "vision")
    baselines.update(path, {"a.py::t": approved("published")})
    pending, source = proposed(tmp_path, case())
    approval.accept(pending, {"a.py::t"}, root=tmp_path / "baselines", reason="r", approver="A", source=source)
    assert baselines.read(path).entries["a.py::t"].provenance.kind == "measured"


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_accepting_without_a_reason_is_refused(tmp_path, reason):
    pending, source = proposed(tmp_path, case())
    with pytest.raises(ConfigError) as caught:
        approval.accept(pending, {"a.py::t"}, root=tmp_path, reason=reason, approver="A", source=source)
    assert str(caught.value) == (
        'a baseline moves only with a reason\n  next:     add --reason "why the numbers moved"'
    )


def test_accepting_what_is_not_pending_is_refused(tmp_path):
    pending, source = proposed(tmp_path, case())
    with pytest.raises(ConfigError, match=r"no such pending case\n  got:      x\n  expected: a\.py::t"):
        approval.accept(pending, {"x"}, root=tmp_path, reason="r", approver="A", source=source)


def test_baselines_that_cannot_be_written_lose_nothing(tmp_path):
    pending, source = proposed(tmp_path, case())
    (tmp_path / "baselines").write_bytes(b"in the way")
    with pytest.raises(BaselineError) as caught:
        approval.accept(pending, {"a.py::t"}, root=tmp_path / "baselines", reason="r", approver="A", source=source)
    assert f"nothing is lost: the results are still in {source}; fix the cause and accept again" in str(caught.value)
    assert baselines.read_pending(baselines.pending_path(tmp_path / "out", "a40", "vision")) == pending


def test_a_pending_entry_that_claims_an_approval_is_refused(tmp_path):
    pending, source = proposed(tmp_path, case())
    signed = replace(
        pending.entries["a.py::t"], provenance=replace(pending.entries["a.py::t"].provenance, approver="The Boss")
    )
    with pytest.raises(BaselineError) as caught:
        approval.check_measured(replace(pending, entries={"a.py::t": signed}), source)
    assert "provenance claims an approval\n  got:      'The Boss'" in str(caught.value)


# --- git ---


def test_no_git_name_is_refused_with_the_command_that_sets_it(tmp_path, monkeypatch):
    monkeypatch.setattr(approval, "git", lambda *_: "")
    with pytest.raises(ConfigError, match=r'git config user\.name "Your Name"'):
        approval.approver(tmp_path)


def test_git_outside_a_repository_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert approval.git(tmp_path, "rev-parse", "HEAD") == ""
