"""``gpuperf selfcheck``: a real, short run on this machine, and what the command refuses."""

import json
from dataclasses import replace

import pytest

from pytest_gpuperf import cli, selfcheck
from pytest_gpuperf.commands.selfcheck import within
from pytest_gpuperf.records import Fingerprint
from pytest_gpuperf.selfcheck import Certificate, Effect, Rate

HERE = Fingerprint(machine="abc", hardware={"cpu": "EPYC"}, software={})


def certificate(false_alarms=0):
    rates = {
        "regressed": Rate.of(false_alarms, 20),
        "within": Rate.of(20 - false_alarms, 20),
        "undecided": Rate.of(0, 20),
    }
    return Certificate(
        machine=HERE.machine,
        hardware=HERE.hardware,
        margin_pct=1.0,
        alpha=0.005,
        budget_s=10.0,
        false_fail=rates["regressed"],
        suite_false_fail_upper=0.5,
        effects=(Effect(effect_pct=0.0, achieved_pct=0.0, median_seconds=1.0, **rates),),
        median_mde_pct=2.0,
    )


def test_a_run_writes_a_certificate_that_counts_on_this_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["selfcheck", "--aa", "1", "--each", "1", "--inject", "50", "--budget", "60", "--json"]) == 0
    printed = capsys.readouterr()
    written = selfcheck.decode(selfcheck.PATH.read_text())
    assert json.loads(printed.out) == json.loads(selfcheck.PATH.read_text())
    assert written.false_fail.trials == 1
    assert [effect.effect_pct for effect in written.effects] == [0.0, 50.0]
    assert "trial 2 of 2" in printed.err


def test_the_budget_ends_the_trials_and_keeps_those_made():
    assert list(within(iter(["one", "two"]), seconds=0)) == ["one"]
    assert list(within(iter(["one", "two"]), seconds=60)) == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--aa", "0"], "got:      --aa 0, --each 20, --budget 900"),
        (["--each", "0"], "numbers of at least 1 and a positive time"),
        (["--budget", "nan"], "--budget nan"),
    ],
)
def test_impossible_numbers_are_refused_before_anything_runs(arguments, message, capsys):
    assert cli.main(["selfcheck", *arguments]) == 4
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("effects", ["0", "-3", "3,inf", "three"])
def test_impossible_slowdowns_are_refused(effects, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["selfcheck", f"--inject={effects}"])
    assert stop.value.code == 2
    assert "--inject" in capsys.readouterr().err


def test_a_certificate_is_cited_where_it_was_made_and_nowhere_else(tmp_path):
    path = tmp_path / "certificate.json"
    assert selfcheck.cite(path, HERE) == ""
    path.write_text(selfcheck.encode(certificate()))
    assert selfcheck.cite(path, HERE) == "selfcheck: 0/20 false alarms (95 % bound 16.8%), margin 1 %"
    elsewhere = replace(HERE, hardware={"cpu": "Xeon"})
    assert selfcheck.cite(path, elsewhere) == "certificate ignored: it is of another machine (cpu)"
    path.write_text("{")
    assert "cannot be read (ConfigError); run gpuperf selfcheck again" in selfcheck.cite(path, HERE)
