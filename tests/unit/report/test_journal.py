from __future__ import annotations

import json

import pytest

from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.report import journal, results
from pytest_gpuperf.report.journal import Journal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / journal.NAME


@pytest.fixture
def begun(path, cases, fingerprint):
    session = results.document("h200", fingerprint, [], started="2026-01-13T10:00:00+00:00", is_complete=False)
    written = Journal(path, session)
    for number, case in enumerate(cases):
        written.add(case, seconds=1.5 + number)
    return written


def test_what_was_written_comes_back(begun, path, tmp_path, cases, fingerprint):
    begun.end(is_complete=True, seconds=99.0)
    target = tmp_path / "results.json"
    results.write(target, journal.resume(path))
    got = results.read(target)
    assert got.cases == tuple(cases)
    assert got.fingerprint == fingerprint
    assert (got.profile, got.seconds, got.is_complete) == ("h200", 99.0, True)


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_kill_in_the_middle_of_a_line_costs_that_line(begun, path, cases, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    document = journal.resume(path)
    assert [case["id"] for case in document["cases"]] == [case.id for case in cases[:-1]]
    assert document["is_complete"] is False
    assert document["seconds"] == len(cases) - 0.5


def test_nothing_is_begun_before_the_first_case(path, fingerprint):
    Journal(path, results.document("h200", fingerprint, [])).end(is_complete=True, seconds=1.0)
    assert not path.exists()


@pytest.mark.parametrize(
    ("damage", "got"),
    [
        (lambda lines: lines[1:], "line 1: b'"),
        (lambda lines: [lines[0], b"nonsense", *lines[1:]], "line 2: b'nonsense'"),
        (lambda lines: [lines[0], b'{"case": 1, "seconds": 1.0}', *lines[1:]], "line 2: b'"),
        (lambda _: [], "no whole line"),
        (lambda _: [b"\xff\xfe"], "line 1: b'"),
    ],
)
def test_damage_is_named_with_its_line(begun, path, damage, got):
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"".join(line + b"\n" for line in damage(lines)))
    with pytest.raises(ConfigError) as caught:
        journal.resume(path)
    assert str(caught.value).startswith(f"{path} is not a journal\n  got:      {got}")


def test_a_missing_journal_says_where_to_look(path):
    with pytest.raises(ConfigError, match="--gpu-out folder"):
        journal.resume(path)


def test_every_case_is_one_line_of_json(begun, path, cases):
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [set(entry) for entry in entries] == [{"session"}, *([{"case", "seconds"}] * len(cases))]
