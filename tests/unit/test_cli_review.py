from __future__ import annotations

import argparse
import io
import os
import pty
import re
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_gpuperf import approval, baselines, cli, history
from pytest_gpuperf.baselines import Result
from pytest_gpuperf.commands import pending
from pytest_gpuperf.records import Metric, Provenance, Status

FILES = "baselines/a40/resnet50.json baselines/a40/history/resnet50.jsonl"
WROTE = f"wrote {FILES.replace(' ', ', ')}; commit it: "
CASE = "suites/vision/test_resnet50.py::test_fp16[8]"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout with an approved baseline of 12.5 ms, and a pending 14 ms on another driver."""
    monkeypatch.chdir(tmp_path)
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(variable, raising=False)
    for command in ("init -q -b main", "config user.name Ada", "config user.email ada@example.org"):
        subprocess.run(["git", *command.split()], check=True)
    baselines.update(tmp_path / "baselines" / "a40" / "resnet50.json", {CASE: entry(12.5, "first", driver="535")})
    propose(14.0, driver="580")
    return tmp_path


def entry(ms, reason="", **conditions):
    return baselines.summarise(
        {
            "latency_p50_ms": Metric(value=ms, unit="ms"),
            "throughput_sps": Metric(value=8000 / ms, unit="samples/s", higher="better"),
        },
        {"latency_p50_ms": [ms * scale for scale in (0.99, 1.0, 1.0, 1.0, 1.01)]},
        conditions={"batch": "8", "machine": "m", **conditions},
        provenance=Provenance(kind="measured", date="2026-11-01", reason=reason, commit="abc"),
    )


def propose(ms, case_id=CASE, *, out=".gpuperf", **conditions):
    result = Result(
        verdict=Status.REGRESSED,
        reason="latency p50 +12.0 %",
        metrics={"latency_p50_ms": Metric(value=ms, unit="ms", lower=ms - 0.1, upper=ms + 0.1)},
    )
    path = baselines.pending_path(Path(out), "a40", "resnet50")
    baselines.update_pending(path, {case_id: entry(ms, **conditions)}, {case_id: result})
    return path


def gpuperf(*arguments, answers="", monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    return cli.main(arguments)


def approved():
    return baselines.read(Path("baselines/a40/resnet50.json")).entries


# --- review ---


def test_review_shows_the_change_and_accepts_with_a_reason(checkout, monkeypatch, capsys):
    assert gpuperf("review", answers="a\n\nnew kernel\n", monkeypatch=monkeypatch) == 0
    text = capsys.readouterr().out
    assert (
        text.splitlines()[:5]
        == (
            f"a40  {CASE} - regressed: latency p50 +12.0 %\n"
            "  latency_p50_ms  12.5 ms -> 14.0 ms [13.9 ms, 14.1 ms]  +12.0 %  5 processes, spread 0.71 %  LOOSER\n"
            "  throughput_sps  640 samples/s -> 571 samples/s  -10.7 %  1 process  LOOSER\n"
            "  driver 535 -> 580: tolerance x 2\n"
            "  last: measured 2026-11-01: first\n"
        ).splitlines()
    )
    assert "a baseline moves only with a reason" in text
    assert f"{WROTE}git add {FILES} && git commit -m 'new kernel'\n" in text
    origin = approved()[CASE].provenance
    assert (origin.reason, origin.approver, origin.commit) == ("new kernel", "Ada", "abc")
    assert not (checkout / ".gpuperf/pending/a40/resnet50.json").exists()


def test_rejecting_drops_the_proposal_and_keeps_the_baseline(checkout, monkeypatch, capsys):
    assert gpuperf("review", answers="r\n", monkeypatch=monkeypatch) == 0
    assert "rejected; fix the cause and measure again" in capsys.readouterr().out
    assert approved()[CASE].metrics["latency_p50_ms"].value == 12.5
    assert not (checkout / ".gpuperf/pending/a40/resnet50.json").exists()


@pytest.mark.parametrize("answers", ["s\n", "q\n", "", "what?\n\ns\n"])
def test_what_is_skipped_stays_pending(checkout, monkeypatch, capsys, answers):
    assert gpuperf("review", answers=answers, monkeypatch=monkeypatch) == 1
    assert "1 left open" in capsys.readouterr().out
    assert (checkout / ".gpuperf/pending/a40/resnet50.json").exists()
    assert approved()[CASE].metrics["latency_p50_ms"].value == 12.5


def test_a_new_case_says_that_it_has_no_baseline(checkout, monkeypatch, capsys):
    propose(3.0, "a.py::new")
    gpuperf("review", answers="s\ns\n", monkeypatch=monkeypatch)
    text = capsys.readouterr().out
    assert "latency_p50_ms  none -> 3.00 ms" in text
    assert "no baseline yet" in text
    assert "2 left open" in text


def test_a_case_that_seems_renamed_says_what_it_was(checkout, monkeypatch, capsys):
    result = Result(verdict=Status.NEW, reason="no baseline", renamed_from=CASE)
    baselines.update_pending(Path(".gpuperf/pending/a40/resnet50.json"), {"a.py::n": entry(3.0)}, {"a.py::n": result})
    gpuperf("review", answers="s\ns\n", monkeypatch=monkeypatch)
    assert (
        f"  it seems to have been {CASE}; to keep what was approved, reject and: gpuperf baseline mv '{CASE}' a.py::n\n"
        in capsys.readouterr().out
    )


def test_an_anchor_is_kept_in_the_history(checkout):
    gpuperf("accept", "--all", "--anchor", "--reason", "r")
    found = history.read(Path("baselines/a40/history/resnet50.jsonl"))
    assert [(entry.figures["latency_p50_ms"], entry.anchor) for entry in found] == [(12.5, False), (14.0, True)]


def test_a_condition_that_forbids_the_comparison_is_shown(checkout, monkeypatch, capsys):
    propose(14.0, batch="16")
    gpuperf("review", answers="s\n", monkeypatch=monkeypatch)
    assert "  batch 8 -> 16: not comparable\n" in capsys.readouterr().out


def test_what_gets_looser_is_red_on_a_terminal(checkout):
    """Through a real terminal, from the question to the answer."""
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    command = [sys.executable, "-c", "import sys; from pytest_gpuperf import cli; sys.exit(cli.main(['review']))"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, b"a\nmeant\n")
        text = b""
        with suppress(OSError):  # the other end is closed
            while True:
                text += os.read(ours, 4096)
        assert process.wait() == 0
    os.close(ours)
    red = re.findall(rb"\x1b\[31m(.*?)\x1b\[0m", text)
    assert [line.split()[0] for line in red] == [b"latency_p50_ms", b"throughput_sps", b"driver"]
    assert approved()[CASE].provenance.reason == "meant"


# --- accept ---


def test_fail_review_accept_commit_is_three_commands(checkout, capsys):
    assert gpuperf("accept", "--all", "--reason", "new kernel") == 0
    assert capsys.readouterr().out == (f"accepted {CASE}\n{WROTE}git add {FILES} && git commit -m 'new kernel'\n")
    subprocess.run(f"git add {FILES} && git commit -qm 'new kernel'", shell=True, check=True)
    assert approval.git(checkout, "status", "--porcelain", "--", "baselines/a40/resnet50.json") == ""


def test_one_case_is_accepted_and_the_other_stays(checkout, capsys):
    path = propose(3.0, "a.py::new")
    assert gpuperf("accept", "--case", "a.py::new", "--reason", "r") == 0
    assert set(baselines.read_pending(path).entries) == {CASE}
    assert approved()["a.py::new"].metrics["latency_p50_ms"].value == 3.0
    assert approved()[CASE].metrics["latency_p50_ms"].value == 12.5


@pytest.mark.parametrize("inside", ["pending/a40/resnet50.json", "a40/resnet50.json", "run/pending/a40/resnet50.json"])
def test_an_archive_from_ci_is_accepted_and_kept(checkout, inside):
    content = (checkout / ".gpuperf/pending/a40/resnet50.json").read_bytes()
    with zipfile.ZipFile("run.zip", "w") as archive:
        archive.writestr(inside, content)
        archive.writestr("results.json", b"{}")
        archive.writestr("../../evil.json", b"{}")
    assert gpuperf("accept", "--all", "--reason", "r", "run.zip") == 0
    assert approved()[CASE].metrics["latency_p50_ms"].value == 14.0
    assert (checkout / "run.zip").exists()


@pytest.mark.parametrize("place", [".gpuperf", ".gpuperf/pending", ".gpuperf/pending/a40/resnet50.json"])
def test_a_folder_or_a_file_is_accepted(checkout, place):
    assert gpuperf("accept", "--all", "--reason", "r", place) == 0
    assert approved()[CASE].metrics["latency_p50_ms"].value == 14.0


def test_another_out_folder_is_accepted(checkout):
    propose(15.0, out="other")
    assert gpuperf("accept", "--all", "--reason", "r", "--from", "other") == 0
    assert approved()[CASE].metrics["latency_p50_ms"].value == 15.0


def test_a_looser_value_than_the_samples_support_is_refused(checkout, capsys):
    path = checkout / ".gpuperf/pending/a40/resnet50.json"
    path.write_bytes(path.read_bytes().replace(b'"value": 14.0', b'"value": 20.0'))
    assert gpuperf("accept", "--all", "--reason", "r") == 4
    message = capsys.readouterr().err
    assert 'metrics["latency_p50_ms"].value is not what its samples say: it was edited by hand' in message
    assert approved()[CASE].metrics["latency_p50_ms"].value == 12.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all", "--reason", " "], "a baseline moves only with a reason"),
        (["--case", "nope", "--reason", "r"], "no such pending case\n  got:      'nope'"),
        (["--all", "--reason", "r", "nowhere"], "no pending baselines in nowhere"),
        (["--all", "--reason", "r", "broken.zip"], "broken.zip is not a readable zip archive"),
    ],
)
def test_what_cannot_be_accepted_says_why(checkout, capsys, arguments, message):
    (checkout / "broken.zip").write_bytes(b"PK no")
    assert gpuperf("accept", *arguments) == 4
    assert f"gpuperf: {message}" in capsys.readouterr().err
    assert approved()[CASE].metrics["latency_p50_ms"].value == 12.5


def test_an_archive_that_unpacks_to_too_much_is_refused(checkout, capsys):
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pending/a40/s.json", b" " * (baselines.MAX_BYTES + 10))
    assert gpuperf("accept", "--all", "--reason", "r", "bomb.zip") == 4
    assert "bomb.zip/pending/a40/s.json is too large to be a baseline" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--reason", "r"], ["--all"], ["--all", "--case", "x", "--reason", "r"]])
def test_accept_needs_cases_and_a_reason(checkout, arguments):
    with pytest.raises(SystemExit) as caught:
        gpuperf("accept", *arguments)
    assert caught.value.code == 2


# --- baseline ---


def test_list_shows_every_entry(checkout, capsys):
    assert gpuperf("baseline", "list") == 0
    assert capsys.readouterr().out == f"a40/resnet50\n  {CASE}  measured 2026-11-01: first\n"


def test_list_flags_published_numbers_that_cannot_be_right(capsys):
    assert gpuperf("baseline", "--baselines", str(Path(__file__).parents[2] / "baselines"), "list") == 0
    lines = capsys.readouterr().out.splitlines()
    flags = [line.strip() for line in lines if "cannot be right" in line]
    assert sum("GPUs were not measured" in flag for flag in flags) == 11
    assert sum("is not samples/s" in flag for flag in flags) == 2


def test_mv_takes_the_entry_and_its_past_along(checkout, capsys):
    gpuperf("accept", "--all", "--reason", "r")
    assert gpuperf("baseline", "mv", CASE, "suites/vision/test_resnet50.py::test_half[8]") == 0
    assert set(approved()) == {"suites/vision/test_resnet50.py::test_half[8]"}
    assert {entry.case for entry in history.read(Path("baselines/a40/history/resnet50.jsonl"))} == set(approved())


def test_mv_onto_an_entry_is_refused(checkout, capsys):
    assert gpuperf("baseline", "mv", CASE, CASE) == 4
    assert "has an entry" in capsys.readouterr().err
    assert set(approved()) == {CASE}


def test_mv_out_of_the_tree_is_refused(checkout, capsys):
    assert gpuperf("baseline", "mv", CASE, "../x.py::t") == 4
    assert "not a case id" in capsys.readouterr().err


def test_rm_removes_the_entry_and_the_empty_file(checkout):
    assert gpuperf("baseline", "rm", CASE) == 0
    assert not (checkout / "baselines/a40/resnet50.json").exists()


@pytest.mark.parametrize("arguments", [["mv", "nope", "b"], ["rm", "nope"], ["--profile", "h200", "rm", CASE]])
def test_an_unknown_entry_is_named(checkout, capsys, arguments):
    assert gpuperf("baseline", *arguments) == 4
    assert "no baseline has such an entry" in capsys.readouterr().err


# --- merge ---


def test_merge_joins_what_git_could_not(checkout, capsys):
    path = checkout / "baselines/a40/resnet50.json"

    def git(*arguments, status=0):
        assert subprocess.run(["git", *arguments], check=False, capture_output=True).returncode == status

    def commit(*entries):
        baselines.update(path, dict(entries))
        git("add", "baselines/a40/resnet50.json")
        git("commit", "-qm", "x")

    commit()
    git("checkout", "-qb", "side")
    commit((CASE, entry(11.0, "theirs")), ("b.py::t", entry(1.0, "theirs")))
    git("checkout", "-q", "main")
    later = replace(entry(13.0).provenance, date="2026-11-09", reason="ours")
    commit((CASE, replace(entry(13.0), provenance=later)), ("a.py::t", entry(2.0, "ours")))
    git("merge", "side", status=1)
    assert gpuperf("baseline", "list") == 4
    assert "next:     gpuperf merge baselines/a40/resnet50.json" in capsys.readouterr().err
    assert gpuperf("merge", "baselines/a40/resnet50.json") == 0
    assert approved().keys() == {CASE, "a.py::t", "b.py::t"}
    assert approved()[CASE].provenance.reason == "ours"


def test_merge_without_a_conflict_is_refused(checkout, capsys):
    assert gpuperf("merge", "baselines/a40/resnet50.json") == 4
    assert "git knows of no merge conflict in baselines/a40/resnet50.json" in capsys.readouterr().err


# --- the command itself ---


def test_every_subcommand_has_arguments_and_help(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
        assert "usage: gpuperf" in capsys.readouterr().out


def test_no_subcommand_shows_the_help(capsys):
    assert cli.main([]) == 2
    assert "accept pending baselines without questions" in capsys.readouterr().out


def test_interrupting_ends_with_the_shell_s_status(checkout, monkeypatch):
    def interrupt(_prompt):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    assert cli.main(["review"]) == 130


def test_pending_arguments_have_the_defaults_of_the_plugin():
    parser = argparse.ArgumentParser()
    pending.add_arguments(parser)
    args = parser.parse_args([])
    assert (str(args.out), str(args.baselines), args.pending) == (".gpuperf", "baselines", None)
