from __future__ import annotations

import json

import pytest

from pytest_gpuperf.cli import main
from pytest_gpuperf.report import results
from pytest_gpuperf.report.formats import FORMATS


@pytest.fixture
def file(tmp_path, cases, fingerprint):
    def make(profile="h200", chosen=cases):
        path = tmp_path / f"{profile}.json"
        results.write(path, results.document(profile, fingerprint, chosen))
        return str(path)

    return make


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"gitlab"}))
def test_a_format_of_one_file_is_printed(file, capfd, name):
    assert main(["report", file(), "--format", name]) == 0
    out, err = capfd.readouterr()
    assert "resnet50" in out
    assert err == ""


def test_all_formats_at_once(file, tmp_path, capsys):
    out = tmp_path / "reports"
    assert main(["report", file(), "--format", ",".join(FORMATS), "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "annotations.txt", "comment.md", "gl-code-quality-report.json", "junit.xml", "metrics.prom", "metrics.txt",
        "report.html", "report.md", "results.csv",
    ]  # fmt: skip
    assert len(json.loads((out / "gl-code-quality-report.json").read_text())) == 4
    assert (out / "metrics.txt").read_text().endswith("# EOF\n")
    assert capsys.readouterr().out.count("wrote ") == 9


def test_servers_are_shown_side_by_side(file, capfd):
    assert main(["report", file("a40"), file("h200")]) == 0
    assert "| a40 p50 ms | a40 samples/s | h200 p50 ms | h200 samples/s |" in (told := capfd.readouterr().out)
    assert "## resnet50, server by server" in told


def test_two_runs_are_compared(file, capfd, case):
    assert main(["report", file("a", [case(p50_ms=1.0)]), file("b", [case(p50_ms=2.0)]), "--compare"]) == 0
    assert "| latency p50 | 1.00 ms | 2.00 ms | +100.0 % | passed |" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pdf"], "gpuperf: unknown report format\n  got:      'pdf'\n  expected: one of html, markdown,"),
        (
            ["--compare"],
            "gpuperf: --compare takes two results files\n  got:      1\n  next:     name the earlier run first",
        ),
        (
            ["--format", "gitlab"],
            "several files cannot be printed at once\n  got:      gl-code-quality-report.json, metrics.txt",
        ),
        (
            ["--format", ","],
            "several files cannot be printed at once\n  got:      no format\n  next:     add --out DIR",
        ),
    ],
)
def test_bad_requests_are_refused(file, capsys, arguments, message):
    assert main(["report", file(), *arguments]) == 4
    assert message in capsys.readouterr().err


def test_a_damaged_file_is_named(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text('{"schema_version": 1,')
    assert main(["report", str(path)]) == 4
    assert f"gpuperf: invalid results file {path}\n  got:      Input data was truncated" in capsys.readouterr().err


def test_an_unwritable_folder_is_named(file, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert main(["report", file(), "--out", str(tmp_path / "taken")]) == 4
    assert "gpuperf: cannot write " in capsys.readouterr().err
