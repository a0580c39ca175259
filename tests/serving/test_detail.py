"""LoadGen's detail log: what it says, and what speaks against it."""

from __future__ import annotations

import json

import pytest

from pytest_gpuperf.serving import detail


def entry(key, value, *, is_error=False):
    return ":::MLLOG " + json.dumps({"key": key, "value": value, "metadata": {"is_error": is_error}})


WHOLE = [
    entry("requested_scenario", "Server"),
    entry("result_validity", "VALID"),
    entry("result_query_count", 662),
    entry("num_errors", 0),
]


def text(lines):
    return "\n".join(lines) + "\n"


def test_a_clean_log_is_valid_and_keeps_its_values():
    log = detail.read(text(WHOLE))
    assert log.is_valid
    assert log.problems == ()
    assert log.values["result_query_count"] == 662


def test_row69_valid_with_an_error_has_a_problem():
    log = detail.read(text([entry("error_runtime", "Ran out of queries", is_error=True), *WHOLE]))
    assert log.is_valid
    assert log.problems == ("error_runtime: Ran out of queries",)


def test_row69_errors_that_are_only_counted_are_a_problem():
    assert detail.read(text([*WHOLE[:-1], entry("num_errors", 3)])).problems == ("LoadGen counted 3 errors",)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_log_that_was_cut_off_says_what_it_lacks(missing):
    (problem,) = detail.read(text(WHOLE[:missing] + WHOLE[missing + 1 :])).problems
    assert problem == f"the log has no {json.loads(WHOLE[missing].removeprefix(':::MLLOG '))['key']}"


@pytest.mark.parametrize("line", [":::MLLOG {", ":::MLLOG []", ":::MLLOG {}", "Segmentation fault"])
def test_damage_is_named_with_its_line(line):
    (problem,) = detail.read(text([*WHOLE, line])).problems
    assert problem.startswith("line 5 is ")


def test_an_empty_log_is_not_valid():
    log = detail.read("")
    assert not log.is_valid
    assert len(log.problems) == 3
