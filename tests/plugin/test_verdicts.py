"""The verdict is the test's own outcome: exit status, JUnit, ``--lf`` and results.json agree on which test failed."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

FAST, SLOW = "test_suite.py::test_engine[fast]", "test_suite.py::test_engine[slow]"


def failed(path) -> list[str]:
    return [case.get("name") for case in ET.parse(path).iter("testcase") if case.find("failure") is not None]


def test_new_cases_warn_on_a_laptop_and_fail_in_ci(repository, monkeypatch):
    laptop = repository.run()
    monkeypatch.setenv("CI", "true")
    ci = repository.run()

    laptop.assert_outcomes(passed=2)
    laptop.stdout.fnmatch_lines(["2 cases pass with a warning only; in CI, `new` fails"])
    ci.assert_outcomes(failed=2)
    ci.stdout.fnmatch_lines(["new: baseline: there is no approved baseline for this case"])


def test_unchanged_engines_pass_against_their_baseline(repository):
    repository.approve()

    result = repository.run()

    result.assert_outcomes(passed=2)
    assert repository.verdicts() == {FAST: "passed", SLOW: "passed"}


def test_planted_slowdown_fails_exactly_that_test(repository):
    repository.approve()
    repository.script("fast", device_ms="2")

    result = repository.run("--junitxml=junit.xml")
    again = repository.run("--lf")

    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert repository.verdicts()[FAST] == "regressed"
    assert failed(repository.path / "junit.xml") == ["test_engine[fast]"]
    again.assert_outcomes(failed=1)


def test_failure_text_is_short_and_says_all(repository):
    repository.approve()
    repository.script("fast", device_ms="2")

    lines = repository.run().stdout.lines
    start = next(i for i, line in enumerate(lines) if line.startswith("regressed: "))
    text = [line for line in lines[start : start + 13] if line and not line.startswith("=")]

    assert len(text) <= 12
    joined = "\n".join(text)
    assert "was 2" in joined  # the baseline's ratio, about 2 x
    assert "95 % CI" in joined
    assert "limit 50 %" in joined
    assert "--gpu-update=changed -k 'test_engine[fast]'" in joined
    assert "gpuperf review" in joined
    assert "site-packages" not in joined
    assert "pytest_gpuperf/" not in joined


@pytest.mark.parametrize("fault", [{"scale": "1.3"}, {"swap": "1"}, {"nan": "3"}], ids=["scale", "swap", "nan"])
def test_planted_accuracy_loss_fails_exactly_that_test(repository, fault):
    repository.budget("Budget(min_top1_agreement=0.99, max_output_rel_rmse=0.01)")
    repository.approve()
    repository.script("slow", device_ms="3", **fault)

    result = repository.run()

    result.assert_outcomes(passed=1, failed=1)
    assert repository.verdicts() == {FAST: "passed", SLOW: "inaccurate"}


def test_nan_is_named_with_tensor_count_and_index(repository):
    repository.script("slow", device_ms="3", nan="1")

    result = repository.run()

    assert repository.verdicts()["test_suite.py::test_engine[slow]"] == "inaccurate"
    result.stdout.re_match_lines([r".*logits.*NaN.*"])


def test_faster_engine_is_improved_and_green(repository):
    repository.approve()
    repository.script("slow", device_ms="1")

    result = repository.run()

    result.assert_outcomes(passed=2)
    assert repository.verdicts()[SLOW] == "improved"


def test_memory_over_its_budget_fails(repository):
    repository.budget("Budget(max_memory_mib=1)")

    repository.run("-k", "fast").assert_outcomes(failed=1)
    assert repository.verdicts() == {FAST: "over_budget"}


def test_improved_can_be_made_to_fail(repository):
    repository.approve()
    repository.script("slow", device_ms="1")

    repository.run("--gpu-policy=improved=fail").assert_outcomes(passed=1, failed=1)


def test_broken_budget_fails_whatever_the_baseline(repository):
    repository.budget("Budget(max_latency_p50_ms=2)")

    result = repository.run()

    result.assert_outcomes(passed=1, failed=1)
    assert repository.verdicts()[SLOW] == "over_budget"


def test_results_are_complete_and_of_the_documented_shape(repository):
    repository.run()

    document = json.loads((repository.path / ".gpuperf" / "results.json").read_text())
    case = document["cases"][0]

    assert document["schema_version"] == 1
    assert document["profile"] == "cpu"
    assert document["fingerprint"]["hardware"]["cores"]
    assert {"id", "model", "engine", "precision", "batch", "verdict", "reason", "metrics", "accuracy"} <= set(case)
    assert {"value", "unit", "lower", "upper", "n"} <= set(case["metrics"]["latency_p50_ms"])
    assert case["metrics"]["throughput_sps"]["unit"] == "sps"
    assert case["accuracy"]["top1_agreement"] == 1.0


def test_xdist_gives_the_same_verdicts_as_no_xdist(repository):
    repository.approve()
    repository.script("fast", device_ms="2")

    for arguments in (["-p", "no:xdist"], ["-n0"], ["-n2"]):
        repository.run(*arguments).assert_outcomes(passed=1, failed=1)
        assert repository.verdicts() == {FAST: "regressed", SLOW: "passed"}


def test_update_writes_pending_files_and_never_the_baseline(repository):
    repository.run("--gpu-update=all")

    assert not (repository.path / "baselines").exists()
    assert (repository.path / ".gpuperf" / "pending" / "cpu" / "suite.json").exists()


def test_a_variable_that_slows_cuda_down_keeps_baselines_from_being_written(repository, monkeypatch):
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")

    result = repository.run("--gpu-update=all")

    result.stdout.fnmatch_lines(["*CUDA_LAUNCH_BLOCKING=1 changes how fast CUDA runs; no baseline is written*"])
    assert not (repository.path / ".gpuperf" / "pending").exists()


def test_update_is_refused_in_ci(repository, monkeypatch):
    monkeypatch.setenv("CI", "true")

    result = repository.run("--gpu-update=all")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--gpu-update is refused in CI: baselines change by a person's hand*"])


def test_damaged_baseline_ends_the_run_before_measuring(repository):
    repository.approve()
    path = repository.path / "baselines" / "cpu" / "suite.json"
    path.write_text(path.read_text()[:200])

    result = repository.run()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "suite.json:" in result.stderr.str()
    assert "git checkout" in result.stderr.str()


def test_off_runs_each_case_once_and_judges_nothing(repository):
    result = repository.run("--gpu-off")

    result.assert_outcomes(passed=2)
    assert not (repository.path / ".gpuperf" / "results.json").exists()


def test_require_fails_a_session_that_measured_too_little(repository):
    result = repository.run("-k", "fast", "--gpu-require=2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["1 cases were measured, and --gpu-require wants 2: the run fails"])


def test_a_run_in_ci_that_measured_nothing_fails_unless_asked(repository, monkeypatch):
    (repository.path / "test_suite.py").write_text("import pytest\n@pytest.mark.skip\ndef test_engine(gpuperf): ...\n")
    assert repository.run().ret == pytest.ExitCode.OK
    monkeypatch.setenv("CI", "true")
    result = repository.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["0 cases were measured, and --gpu-require wants 1: the run fails"])
    assert repository.run("-k", "nothing").ret == pytest.ExitCode.TESTS_FAILED
    assert repository.run("--gpu-require=0").ret == pytest.ExitCode.OK
    assert repository.run("--collect-only").ret == pytest.ExitCode.OK


def test_a_profile_in_the_ini_file_does_not_ask_other_tests_to_measure(repository, monkeypatch):
    monkeypatch.setenv("CI", "true")
    (repository.path / "test_suite.py").write_text("def test_something_else(): ...\n")
    (repository.path / "pytest.ini").write_text("[pytest]\ngpuperf_profile = cpu\n")
    assert repository.pytester.runpytest().ret == pytest.ExitCode.OK


def test_what_could_not_be_measured_does_not_count_as_measured(repository):
    repository.script("fast", device_ms="1", fault="config", at="open")
    result = repository.run("-k", "fast", "--gpu-require=1", "--gpu-policy=config=pass")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["0 cases were measured, and --gpu-require wants 1: the run fails"])


def test_infra_exit_when_every_failure_is_the_machines(repository):
    repository.script("fast", device_ms="1", fault="segfault", at="3")

    assert repository.run("--gpu-infra-exit=75").ret == 75


def test_infra_exit_not_when_another_failure_is_real(repository):
    repository.budget("Budget(max_latency_p50_ms=2)")
    repository.script("fast", device_ms="1", fault="segfault", at="3")

    assert repository.run("--gpu-infra-exit=75").ret == pytest.ExitCode.TESTS_FAILED


def test_several_processes_give_a_spread_that_may_gate(repository):
    repository.run("--gpu-update=all", "--gpu-processes=5", "-k", "fast")

    pending = json.loads((repository.path / ".gpuperf" / "pending" / "cpu" / "suite.json").read_text())
    metric = pending["cases"][FAST]["metrics"]["latency_p50_ms"]

    assert metric["n_processes"] == 5
    assert len(metric["samples"]) == 5
    assert metric["spread_pct"] >= 0
