"""The certificate: known answers through the judging code, counted right."""

import time
from contextlib import contextmanager
from random import Random

import pytest

from pytest_gpuperf import selfcheck, stats
from pytest_gpuperf.errors import ConfigError
from pytest_gpuperf.evidence import Rule
from pytest_gpuperf.load import Limits, Reading
from pytest_gpuperf.records import Block, Fingerprint
from pytest_gpuperf.selfcheck import Rate, Trial

RULE = Rule(margin_pct=1, budget_s=1000)
HERE = Fingerprint(machine="abc", hardware={"cpu": "EPYC", "cores": "2"}, software={})


class Scripted:
    def __init__(self, call_ms, rng, now):
        self.call_ms, self.rng, self.now = call_ms, rng, now

    def measure(self, *, seconds, max_calls, core=None):
        self.now[0] += round(seconds * 1e9)
        return Block(host_ns=(round(1e6 * self.call_ms * (1 + self.rng.gauss(0, 0.002))),))


def trials(effects, between=0.003):
    now, rng = [0], Random(1)

    def open_pair(effect_pct):
        @contextmanager
        def opened():
            luck = 1 + rng.gauss(0, between)
            yield Scripted(luck * (1 + effect_pct / 100), rng, now), Scripted(1, rng, now)

        return opened

    read = lambda: Reading(wall_ns=now[0])  # noqa: E731
    return list(selfcheck.run(open_pair, effects=effects, rule=RULE, rng=rng, read=read))


def trial(effect_pct=0.0, decision="within", **fields):
    values = {"ratio": 1 + effect_pct / 100, "lower": 0.9, "upper": 1.1, "pairs": 5, "seconds": 4.0, "mde_pct": 2.0}
    return Trial(workload="w", effect_pct=effect_pct, decision=decision, **{**values, **fields})


def test_known_answers_are_found():
    done = trials({0: 30, 5: 30})
    certificate = selfcheck.certify(done, RULE, HERE)
    none, five = certificate.effects
    assert (none.effect_pct, none.regressed.hits, none.within.hits) == (0, 0, 30)
    assert (five.effect_pct, five.regressed.hits) == (5, 30)
    assert five.achieved_pct == pytest.approx(5, abs=0.3)
    assert {t.effect_pct for t in done[:20]} == {0, 5}  # mixed, not one after the other


def test_counts_and_bounds_by_hand():
    done = [trial()] * 37 + [trial(decision="regressed")] + [trial(decision="undecided", mde_pct=9, seconds=10)] * 2
    done += [trial(3.0, "regressed", seconds=2.0)] * 9 + [trial(3.0, "undecided")]
    certificate = selfcheck.certify(done, RULE, HERE)
    assert certificate.false_fail == Rate(
        hits=1, trials=40, lower=stats.clopper_pearson(1, 40)[0], upper=stats.clopper_pearson(1, 40)[1]
    )
    assert certificate.suite_false_fail_upper == pytest.approx(1 - (1 - certificate.false_fail.upper) ** 8)
    none, three = certificate.effects
    assert (none.regressed.hits, none.within.hits, none.undecided.hits) == (1, 37, 2)
    assert (three.regressed.hits, three.within.hits, three.undecided.hits, three.median_seconds) == (9, 0, 1, 2.0)
    assert three.achieved_pct == pytest.approx(3)
    assert certificate.median_mde_pct == 2
    assert selfcheck.line(certificate) == (
        "selfcheck: 1/40 false alarms (95 % bound 13.2%), found 9/10 at +3 %, margin 1 %"
    )


def test_of_no_trials_nothing_is_known():
    assert Rate.of(0, 0) == Rate(hits=0, trials=0, lower=0.0, upper=1.0)
    with pytest.raises(ConfigError, match="a certificate needs comparisons of identical programs"):
        selfcheck.certify([trial(3.0)], RULE, HERE)


def test_json_comes_back_and_damage_is_named():
    certificate = selfcheck.certify([trial(), trial(3.0, "regressed")], RULE, HERE)
    text = selfcheck.encode(certificate)
    assert selfcheck.decode(text) == certificate
    for damaged in ("{", "[]", "{}", text.replace('"schema_version": 1', '"schema_version": 2')):
        with pytest.raises(ConfigError, match=r"the certificate cannot be read\n.*\n  next:     run gpuperf selfcheck"):
            selfcheck.decode(damaged)


def test_a_certificate_of_another_machine_is_ignored_and_said_so():
    certificate = selfcheck.certify([trial()], RULE, HERE)
    assert selfcheck.applies(certificate, HERE) == ""
    other = Fingerprint(machine="abc", hardware={"cpu": "Xeon", "cores": "2", "gpu": "A40"}, software={})
    assert selfcheck.applies(certificate, other) == "certificate ignored: it is of another machine (cpu, gpu)"
    host = Fingerprint(machine="xyz", hardware=HERE.hardware, software={})
    assert selfcheck.applies(certificate, host) == "certificate ignored: it is of another machine (another host)"


def test_real_workers_see_a_plain_slowdown(tmp_path):
    """The effect is large, so that a busy machine shows it too; what disturbs is not what is tested here."""
    rule = Rule(margin_pct=20, min_pairs=2, max_pairs=3, round_s=0.1, limits=Limits(steal=9, foreign=99, stalled=9))
    opened = selfcheck.workers(tmp_path / "log", tmp_path)
    quiet = lambda: Reading(wall_ns=time.monotonic_ns())  # noqa: E731
    (done,) = selfcheck.run(opened, effects={300: 1}, rule=rule, rng=Random(1), read=quiet)
    assert done.ratio > 2
    assert done.pairs in (2, 3)
