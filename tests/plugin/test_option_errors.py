"""Bad option values end the run with exit status 4, before collection, and name where they came from."""

from __future__ import annotations

import pytest

TEST = "def test_nothing(): pass"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--gpu-batches=0"], "expected: comma-separated batch sizes of at least 1, such as 1,8,16"),
        (["--gpu-batches=8,x"], "got:      '8,x'"),
        (["--gpu-time-budget=-1"], "expected: a positive number of seconds"),
        (["--gpu-time-budget=nan"], "expected: a positive number of seconds"),
        (["--gpu-update=everything"], "expected: one of none, new, changed, all"),
        (["--gpu-processes=0"], "expected: an integer of at least 1"),
        (["--gpu-policy=new=shrug"], "expected: VERDICT=pass|warn|fail, with a verdict of passed, improved"),
        (["--gpu-policy=fine=pass"], "got:      'fine=pass'"),
        (["--gpu-seed=one"], "expected: an integer of at least 0"),
        (["--gpu-profile="], "expected: a non-empty value"),
    ],
)
def test_bad_value_names_option_source_and_expectation(pytester, arguments, expected):
    pytester.makepyfile(TEST)

    result = pytester.runpytest(*arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert f"invalid {arguments[0].partition('=')[0]} (from the command line)" in text
    assert expected in text


def test_bad_ini_value_names_the_ini_key(pytester):
    pytester.makeini("[pytest]\ngpuperf_batches = 0")
    pytester.makepyfile(TEST)

    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "invalid --gpu-batches (from the ini key gpuperf_batches)" in result.stderr.str()


def test_bad_environment_value_names_the_variable(pytester, monkeypatch):
    monkeypatch.setenv("GPUPERF_SEED", "-1")
    pytester.makepyfile(TEST)

    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "invalid --gpu-seed (from the environment variable GPUPERF_SEED)" in result.stderr.str()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--gpu-profile=cpu", "--gpu-layers", "--gpu-update=all"],
            "--gpu-layers and --gpu-update contradict each other: nothing is judged",
        ),
        (
            ["--gpu-profile=cpu", "--gpu-off", "--gpu-layers"],
            "--gpu-off and --gpu-layers contradict each other: nothing is timed",
        ),
        (
            ["--gpu-profile=cpu", "--gpu-off", "--gpu-update=all"],
            "--gpu-off and --gpu-update contradict each other: nothing is measured, so there is nothing to write",
        ),
        (
            ["--gpu-off", "--gpu-processes=5"],
            "--gpu-off and --gpu-processes contradict each other: each case runs",
        ),
        (["--gpu-off", "--gpu-require=3"], "--gpu-off and --gpu-require contradict each other: no case is measured"),
        (["--gpu-update=all"], "--gpu-update needs a server profile, since baselines belong to one"),
    ],
)
def test_conflicting_options_name_both(pytester, arguments, expected):
    pytester.makepyfile(TEST)

    result = pytester.runpytest(*arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert expected in result.stderr.str()


def test_command_line_wins_over_environment_and_ini(pytester, monkeypatch):
    monkeypatch.setenv("GPUPERF_SEED", "2")
    pytester.makeini("[pytest]\ngpuperf_seed = 3\ngpuperf_batches = 16,8")
    pytester.makeconftest(
        """
        from pytest_gpuperf import options

        def pytest_configure(config):
            settings = options.resolve(config)
            print(settings.seed, settings.source["seed"], settings.batches, settings.source["batches"])
        """
    )
    pytester.makepyfile(TEST)

    result = pytester.runpytest("--gpu-seed=1")

    result.stdout.fnmatch_lines(["1 command line (8, 16) ini key gpuperf_batches"])


def test_every_option_is_listed_in_help_with_its_ini_key(pytester):
    from pytest_gpuperf.options import OPTIONS

    text = pytester.runpytest("--help").stdout.str()

    assert [option.flag for option in OPTIONS if option.flag not in text] == []
    assert [option.dest for option in OPTIONS if option.dest not in text] == []


def test_unknown_profile_lists_the_known_ones(pytester):
    pytester.makepyfile(TEST)

    result = pytester.runpytest("--gpu-profile=a41")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert "'a41'" in text
    assert "a40" in text
    assert "rtx6000-ada" in text


def test_clean_under_strict_options_and_warnings_as_errors(pytester):
    pytester.makepyfile("import pytest\n@pytest.mark.gpuperf\ndef test_marked(): pass")

    result = pytester.runpytest_subprocess("--strict-markers", "--strict-config", "-W", "error")

    result.assert_outcomes(passed=1)


def test_can_be_switched_off(pytester):
    pytester.makepyfile(TEST)

    result = pytester.runpytest_subprocess("-p", "no:gpuperf", "-W", "error")

    result.assert_outcomes(passed=1)


def test_without_a_profile_cases_are_skipped_and_say_why(pytester):
    pytester.makepyfile("def test_case(gpuperf): pass")

    result = pytester.runpytest("-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*no server profile: give --gpu-profile=NAME (or auto)*"])
