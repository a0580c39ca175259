"""Baselines from end to end: a failure becomes an approved number, and what was approved is remembered."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess

from pytest_gpuperf import baselines, history
from pytest_gpuperf.cli import main

FAST, SLOW = "test_suite.py::test_engine[fast]", "test_suite.py::test_engine[slow]"
PROFILE = """
name = "tiny"
description = "A server that can do next to nothing"
time_budget_s = 0.3
[match]
device = "cpu"
[batches]
default = [8]
[tolerances_pct]
default = 15.0
[peaks]
source = "a test"
fp32_tflops = 0.001
bandwidth_gbs = 1.0
"""


def test_from_failure_to_commit_in_three_commands_with_the_archive_of_a_ci_run(repository, capsys):
    """Measure in CI, accept the artefact on a laptop, commit: the same run is then green, and the change on record."""
    repository.approve()
    subprocess.run("git init -q . && git add . && git commit -qm start", shell=True, check=True)
    repository.script("fast", device_ms="2")

    failing = repository.run("--gpu-update=changed")
    archive = shutil.make_archive("run", "zip", repository.path / ".gpuperf", "pending")
    shutil.rmtree(repository.path / ".gpuperf" / "pending")
    assert main(["accept", "--all", "--reason", "the new kernel is slower, but exact", archive]) == 0
    told = capsys.readouterr().out
    subprocess.run(told.rpartition("commit it: ")[2], shell=True, check=True)

    failing.assert_outcomes(passed=1, failed=1)
    failing.stdout.fnmatch_lines(["1 pending baselines were written; look at them with: gpuperf review"])
    assert f"accepted {FAST}" in told
    repository.run().assert_outcomes(passed=2)
    shown = subprocess.run(["git", "show", "--stat", "--format=%s"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("the new kernel is slower, but exact\n")
    assert "baselines/cpu/suite.json" in shown
    assert "baselines/cpu/history/suite.jsonl" in shown
    origin = baselines.read(repository.path / "baselines" / "cpu" / "suite.json").entries[FAST].provenance
    assert (origin.reason, origin.approver) == ("the new kernel is slower, but exact", "Test Author")


def test_slow_drift_over_accepted_runs_is_told_although_each_step_passed(repository):
    repository.approve()
    folder = repository.path / "baselines"
    entry = baselines.read(folder / "cpu" / "suite.json").entries[FAST]
    path = history.path(folder, "cpu", "suite")
    path.unlink(missing_ok=True)
    now = history.of_entry(FAST, entry)
    for step in range(6):  # 10 % each, which the profile's 50 % let pass
        figures = {"speed_ratio": now.figures["speed_ratio"] * 1.1 ** (6 - step)}
        history.append(path, history.Accepted(case=FAST, date=f"2026-0{step + 1}-01", commit="c",
                                              conditions=now.conditions, figures=figures))  # fmt: skip

    result = repository.run("--gpu-report=markdown")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [f"*{FAST.replace('[', '[[]')}: slow drift: speed_ratio is * % worse than on 2026-01-01, in 6 steps"]
    )
    trend = repository.results()[FAST]["trend"]
    assert (trend["metric"], len(trend["points"]), trend["points"][0][0]) == ("speed_ratio", 7, "2026-01-01")
    assert repository.results()[SLOW]["trend"] is None
    written = next((repository.path / ".gpuperf").glob("*.md")).read_text()
    assert "slow drift: speed&#95;ratio" in written


def test_a_damaged_history_ends_the_run_before_measuring(repository):
    path = history.path(repository.path / "baselines", "cpu", "suite")
    path.parent.mkdir(parents=True)
    path.write_text('{"case": "a"}\n')
    result = repository.run()
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*suite.jsonl:1: damaged history line"])


def test_a_renamed_test_is_recognised_and_strays_are_swept(repository):
    repository.approve()
    suite = repository.path / "test_suite.py"
    suite.write_text(suite.read_text().replace("def test_engine", "def test_renamed"))
    strays = [
        folder / f".suite.json.{socket.gethostname()}.4194303.abcdef01.tmp"
        for folder in (repository.path / "baselines" / "cpu", repository.path / ".gpuperf")
    ]
    for stray in strays:
        stray.parent.mkdir(exist_ok=True)
        stray.touch()

    result = repository.run("--gpu-update=new")

    new = FAST.replace("test_engine", "test_renamed")
    result.stdout.fnmatch_lines(
        [
            f"unused baseline: {FAST}; it seems to be {new} now, then: gpuperf baseline mv '{FAST}' '{new}'".replace(
                "[", "[[]"
            )
        ]
    )
    pending = json.loads((repository.path / ".gpuperf" / "pending" / "cpu" / "suite.json").read_text())
    assert pending["cases"][new]["result"]["renamed_from"] == FAST
    assert not [stray for stray in strays if stray.exists()]


def test_faster_than_the_hardware_is_a_wrong_measurement(repository):
    (repository.path / "tiny.toml").write_text(PROFILE)
    repository.script("fast", device_ms="1", gflop="1")

    result = repository.pytester.runpytest("--gpu-profile=tiny.toml", "--gpu-update=all")

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["config: the measurement is wrong: * samples/s, but 1 x 0.001 TFLOP/s cannot do more than 1 at 1.00 GFLOP*"]
    )
    case = repository.results()[FAST]
    assert (case["verdict"], case["physics"]["ceiling_sps"]) == ("config", 1.0)
    assert case["physics"]["flags"][0].startswith("the measurement is wrong")
    assert case["physics"]["mfu_pct"] > 100
    pending = json.loads((repository.path / ".gpuperf" / "pending" / "tiny" / "suite.json").read_text())
    assert set(pending["cases"]) == {SLOW}
